"""Published detectors, built by their authors' own code with random weights: for authors_peer.py.

The authors' repositories are used as they are checked out. Their packages import much that building a model does not
need (loggers, dataset readers, trackers of experiments); what is not installed is replaced by empty stand-ins.
"""
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
import types
from dataclasses import dataclass

import torch
from torch import nn


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Modules of the given names, and all below them, that have every attribute and do nothing."""

    def __init__(self, names: list[str]):
        self.names = names

    def find_spec(self, name, path=None, target=None):
        if any(name == known or name.startswith(known + ".") for known in self.names):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = stand_in
        return module

    def exec_module(self, module):
        pass


class AnyAttribute(type):
    def __getattr__(cls, name: str):
        return stand_in(name)


def stand_in(name: str):
    if name.startswith("__"):
        raise AttributeError(name)
    body = {"__init__": lambda self, *_, **__: None, "__call__": lambda self, function=None, *_, **__: function}
    return AnyAttribute(name, (), body)


def package_without_init(name: str, folder: str) -> types.ModuleType:
    """So that modules inside can be imported without everything that the package's __init__.py imports."""
    package = types.ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package
    return package


@dataclass(frozen=True)
class Case:
    """One published size."""

    name: str  # as --arch calls it
    folder: str  # of the authors' code
    config: str  # a YAML file there, or the name of a class of configs
    is_discrete: bool = False  # looks at the nearest cell: outputs jump where a sample lies between two

    @property
    def is_rf_detr(self) -> bool:
        return self.folder == "rf-detr"


def cases() -> list[Case]:
    v1, v2, dfine, deim, v4 = ("RT-DETR/rtdetr_pytorch", "RT-DETR/rtdetrv2_pytorch", "D-FINE", "DEIMv2", "RT-DETRv4")
    found = [Case(f"rtdetr-{size}", v1, f"rtdetr/rtdetr_{file}_6x_coco.yml")
             for size, file in [("r18", "r18vd"), ("r34", "r34vd"), ("r50-m", "r50vd_m"), ("r50", "r50vd"),
                                ("r101", "r101vd")]]
    found += [Case(f"rtdetrv2-{size}", v2, f"rtdetrv2/rtdetrv2_{file}_coco.yml")
              for size, file in [("r18", "r18vd_120e"), ("r34", "r34vd_120e"), ("r50-m", "r50vd_m_7x"),
                                 ("r50", "r50vd_6x"), ("r101", "r101vd_6x"), ("r18-sp1", "r18vd_sp1_120e"),
                                 ("r18-sp2", "r18vd_sp2_120e"), ("r18-sp3", "r18vd_sp3_120e"),
                                 ("hgnetv2-l", "hgnetv2_l_6x"), ("hgnetv2-x", "hgnetv2_x_6x"),
                                 ("hgnetv2-h", "hgnetv2_h_6x")]]
    found += [Case(f"rtdetrv2-{size}-dsp", v2, f"rtdetrv2/rtdetrv2_{file}_coco.yml", is_discrete=True)
              for size, file in [("r18", "r18vd_dsp_3x"), ("r34", "r34vd_dsp_1x"), ("r50-m", "r50vd_m_dsp_3x"),
                                 ("r50", "r50vd_dsp_1x")]]
    found += [Case(f"d-fine-{size}", dfine, f"dfine/dfine_hgnetv2_{size}_coco.yml") for size in "nsmlx"]
    found += [Case(f"deim-{size}", v4, f"deim/deim_hgnetv2_{size}_coco.yml") for size in "nsmlx"]
    found += [Case(f"rtdetrv4-{size}", v4, f"rtv4/rtv4_hgnetv2_{size}_coco.yml") for size in "smlx"]
    found += [Case(f"deimv2-{size}", deim, f"deimv2/deimv2_hgnetv2_{size}_coco.yml")
              for size in ("atto", "femto", "pico", "n")]
    found += [Case(f"deimv2-{size}", deim, f"deimv2/deimv2_dinov3_{size}_coco.yml") for size in "smlx"]
    found += [Case(f"rf-detr-{size}", "rf-detr", f"RFDETR{name}Config")
              for size, name in [("nano", "Nano"), ("small", "Small"), ("medium", "Medium"), ("base", "Base"),
                                 ("large", "Large"), ("large-2025", "LargeDeprecated"), ("xlarge", "XLarge"),
                                 ("2xlarge", "2XLarge"), ("seg-preview", "SegPreview"), ("seg-nano", "SegNano"),
                                 ("seg-small", "SegSmall"), ("seg-medium", "SegMedium"), ("seg-large", "SegLarge"),
                                 ("seg-xlarge", "SegXLarge"), ("seg-2xlarge", "Seg2XLarge")]]
    return found


FEW_QUERIES = 10  # of discrete cases: with 300, some of 86,000 samples always lie between two cells
INPUT = 320  # where the weights do not fix it: a quarter of the time of 640


def root_of(folder: str, authors: str) -> str:
    root = os.path.join(os.path.abspath(authors), folder)
    if not os.path.isdir(root):
        raise FileNotFoundError(f"{root}: there is no such checkout of the authors' code")
    return root


def package_of(root: str) -> str:
    return next(name for name in ("rfdetr", "engine", "src") if os.path.isdir(os.path.join(root, name)))


def import_authors(folder: str, authors: str) -> None:
    """The code of one checkout, once a process: its packages are called as those of others."""
    root = root_of(folder, authors)
    package = package_of(root)
    sys.path.insert(0, root)
    if package == "rfdetr":
        import_rf_detr(root)
        return
    inside = [f"{package}.{name}" for name in ("data", "solver", "misc.visualizer", "rtv4.dinov3_teacher",
                                               "rtv4.dinov2_teacher")]
    sys.meta_path.insert(0, StandIns(["tensorboard", "torch.utils.tensorboard", "faster_coco_eval", "calflops",
                                      "loguru", "torchvision.datapoints", *inside]))
    module = package_without_init(package, os.path.join(root, package))
    if package == "engine":
        backbones = importlib.import_module("engine.backbone")
        vars(module).update({name: value for name, value in vars(backbones).items() if not name.startswith("_")})
    for part in ("core", "nn", "zoo", "deim", "rtv4"):
        if os.path.isdir(os.path.join(root, package, part)):
            importlib.import_module(f"{package}.{part}")


DINOV2 = {"small": {"hidden_size": 384, "num_attention_heads": 6}, "base": {"hidden_size": 768}}


def stages_and_indices(out_features: list[str], out_indices, stage_names: list[str]):
    """What transformers 4 had under a longer name."""
    return out_features, [stage_names.index(name) for name in out_features]


def import_rf_detr(root: str) -> None:
    import transformers.pytorch_utils as helpers
    import transformers.utils.backbone_utils as backbone_helpers

    for gone in ("find_pruneable_heads_and_indices", "prune_linear_layer"):  # imported, never called
        if not hasattr(helpers, gone):
            setattr(helpers, gone, None)
    if not hasattr(backbone_helpers, "get_aligned_output_features_output_indices"):  # gone too
        backbone_helpers.get_aligned_output_features_output_indices = stages_and_indices
        backbone_helpers.BackboneMixin._init_backbone = lambda self, _: self._init_transformers_backbone()
    sys.meta_path.insert(0, StandIns(["peft", "matplotlib", "supervision", "rfdetr.datasets", "rfdetr.engine",
                                      "rfdetr.detr", "rfdetr.util.benchmark", "rfdetr.util.drop_scheduler",
                                      "rfdetr.util.files"]))
    package_without_init("rfdetr", os.path.join(root, "rfdetr"))
    trunk = importlib.import_module("rfdetr.models.backbone.dinov2")
    trunk.get_config = lambda size, _: DINOV2[size] | {"image_size": 518, "patch_size": 14}  # its file may be missing
    for name in ("config", "platform.models", "main"):
        importlib.import_module(f"rfdetr.{name}")


def build(case: Case, authors: str) -> tuple[nn.Module, int]:
    """-> the model, and the side of its input. After import_authors."""
    model, side = build_rf_detr(case) if case.is_rf_detr else build_from_yaml(case, root_of(case.folder, authors))
    return model.eval(), side


def build_rf_detr(case: Case) -> tuple[nn.Module, int]:
    configs = next(module for module in (sys.modules["rfdetr.config"], sys.modules["rfdetr.platform.models"])
                   if hasattr(module, case.config))
    config = getattr(configs, case.config)(device="cpu")
    main = sys.modules["rfdetr.main"]
    args = main.populate_args(**config.model_dump())
    args.pretrain_weights = ""  # no file, and none of DINOv2's either
    return main.build_model(args), config.resolution


def build_from_yaml(case: Case, root: str) -> tuple[nn.Module, int]:
    core = sys.modules[f"{package_of(root)}.core"]
    config = core.YAMLConfig(os.path.join(root, "configs", case.config), HGNetv2={"pretrained": False},
                             PResNet={"pretrained": False}, eval_spatial_size=[INPUT, INPUT],
                             HybridEncoder={"eval_spatial_size": [INPUT, INPUT]},
                             RTDETRTransformer={"eval_spatial_size": [INPUT, INPUT]},
                             **({"RTDETRTransformerv2": {"num_queries": FEW_QUERIES}} if case.is_discrete else {}))
    return config.model, INPUT


LAST_OF_BLOCK = "branch2c.norm.weight"  # of the bottleneck blocks of a ResNet
FIXED = ("num_batches_tracked", "num_points_scale", "n_points_scale", ".up", ".reg_scale", "periods", "anchors",
         "valid_mask", "_weight_scale")


@torch.no_grad()
def randomize(model: nn.Module, pixels: torch.Tensor, seed: int) -> None:
    """Weights of the size that keeps activations near one, and statistics of batch norms that fit them, loosely."""
    generator = torch.Generator().manual_seed(seed)

    def normal(tensor: torch.Tensor, mean: float, deviation: float) -> None:
        tensor.copy_(mean + deviation * torch.randn(tensor.shape, generator=generator))

    for name, tensor in model.state_dict().items():
        if name.endswith(FIXED) or "running_" in name or not tensor.is_floating_point():
            continue
        if name.endswith("bias_mask"):  # keys have no bias
            tensor.fill_(1.0).view(3, -1)[1] = 0.0
        elif name.endswith("sampling_offsets.bias"):
            normal(tensor, 0.0, 1.5)
        elif name.endswith(("token", "tokens", "position_embeddings", "refpoint_embed.weight")):
            normal(tensor, 0.0, 0.5)
        elif name.endswith(("query_feat.weight", "tgt_embed.weight")):
            normal(tensor, 0.0, 1.0)
        elif name.endswith("sampling_offsets.weight"):
            normal(tensor, 0.0, (0.01 / tensor[0].numel()) ** 0.5)
        elif tensor.dim() > 1:  # products with small results keep the boxes of all layers well-conditioned
            normal(tensor, 0.0, ((0.4 if tensor.dim() == 2 else 1.6) / tensor[0].numel()) ** 0.5)
        elif name.endswith("bias"):
            normal(tensor, 0.0, 0.2)
        elif name.endswith(LAST_OF_BLOCK):  # or each of a deep ResNet's blocks would double what rounding does
            normal(tensor, 0.25, 0.05)
        else:
            normal(tensor, 1.0, 0.1)
    calibrate(model, pixels, generator)


def calibrate(model: nn.Module, pixels: torch.Tensor, generator: torch.Generator) -> None:
    """Random statistics alone would let the values of a deep network grow or vanish."""

    def measure(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        x = inputs[0]
        variance, mean = torch.var_mean(x, dim=(0, 2, 3))
        spread = variance.sqrt() + 1e-3
        norm.running_mean.copy_(mean + 0.2 * spread * torch.randn(mean.shape, generator=generator))
        norm.running_var.copy_((spread * (0.8 + 0.4 * torch.rand(mean.shape, generator=generator))) ** 2)

    norms = [module for module in model.modules() if hasattr(module, "running_mean")]
    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    model(pixels)
    for hook in hooks:
        hook.remove()


def random_pixels(side: int, seed: int) -> torch.Tensor:
    """One image of shapes at all scales."""
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.zeros(1, 3, side, side)
    for cells in (5, 20, 80, side):
        noise = torch.randn(1, 3, cells, cells, generator=generator)
        pixels += nn.functional.interpolate(noise, size=(side, side), mode="bilinear") / 2
    return pixels.sigmoid()

#!/usr/bin/env python3
"""The weights inside DEIMv2's published ONNX files, called as in its checkpoints.

Usage: weights_of_onnx.py MODEL.onnx OUT.safetensors      (onnx, numpy, safetensors)

The export folded every batch norm into its convolution and summed RepVGG's branches: written back as batch norms that
change nothing but add the bias, and as 1 x 1 branches of zeros.
"""
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from safetensors.numpy import save_file

EPS = 1e-5  # of the batch norms


def module_path(node: str) -> str:
    """/model/backbone/stages.0/blocks/blocks.0/conv/Conv -> backbone.stages.0.blocks.0.conv"""
    parts = node.split("/")[2:-1]
    return ".".join(part for part, behind in zip(parts, parts[1:] + [""]) if not behind.startswith(part + "."))


def batch_norm(to: dict, prefix: str, bias: np.ndarray) -> None:
    one = np.ones_like(bias)
    to |= {prefix + ".weight": one, prefix + ".bias": bias, prefix + ".running_mean": 0 * one,
           prefix + ".running_var": (one.astype(np.float64) - EPS).astype(np.float32)}


def convolution(to: dict, path: str, weight: np.ndarray, bias: np.ndarray) -> None:
    parent, last = path.rsplit(".", 1)
    if ".bottlenecks." in path:
        to[parent + ".conv1.conv.weight"] = weight
        to[parent + ".conv2.conv.weight"] = np.zeros((*weight.shape[:2], 1, 1), np.float32)
        batch_norm(to, parent + ".conv1.norm", bias)
        batch_norm(to, parent + ".conv2.norm", 0 * bias)
    elif last == "conv_bn_fused":
        to[parent + ".conv.weight"] = weight
        batch_norm(to, parent + ".norm", bias)
    elif last == "conv":
        to[path + ".weight"] = weight
        batch_norm(to, parent + (".bn" if path.startswith("backbone") else ".norm"), bias)
    else:  # the second and third of a sequence
        to[path + ".weight"] = weight
        batch_norm(to, f"{parent}.{int(last) + 1}", bias)


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    graph = onnx.load(sys.argv[1]).graph
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    consumers = {name: node for node in graph.node for name in node.input}
    # Named as in the checkpoint: affine maps, norms' scales, biases.
    to = {name.removeprefix("model."): value.astype(np.float32) for name, value in values.items()
          if name.startswith("model.") and "conv_bn_fused" not in name and ".bottlenecks." not in name}
    projections: dict[str, list] = {}
    for node in graph.node:
        weights = [values[name] for name in node.input if name in values]
        if node.op_type == "Conv":
            convolution(to, module_path(node.name), *weights)
        elif node.op_type == "MatMul" and weights and weights[0].ndim == 2:
            added = consumers[node.output[0]]
            bias = next(name for name in added.input if name in values)
            if bias.startswith("model."):
                to[bias.removeprefix("model.").removesuffix("bias") + "weight"] = weights[0].T.copy()
            else:  # of an attention's query, key and value, in this order
                projections.setdefault(module_path(node.name), []).append((weights[0].T, values[bias]))
    for path, parts in projections.items():
        assert len(parts) == 3, path
        to[path + ".in_proj_weight"] = np.concatenate([weight for weight, _ in parts])
        to[path + ".in_proj_bias"] = np.concatenate([bias for _, bias in parts])
    to["decoder.up"] = np.array([0.5], np.float32)  # constants of the configs; the export keeps what follows from them
    to["decoder.reg_scale"] = np.array([4.0], np.float32)
    save_file({name: np.ascontiguousarray(value) for name, value in to.items()}, sys.argv[2])


if __name__ == "__main__":
    main()

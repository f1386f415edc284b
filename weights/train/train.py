#!/usr/bin/env python3
"""Train a small RF-DETR from nothing on a COCO-format folder, in minutes on one GPU.

The images live on the GPU, where augmentation and matching happen for the whole batch at once. The schedule is measured
in minutes, not steps. Writes a folder that Hugging Face's `RfDetrForObjectDetection.from_pretrained` and vistazo load.
"""

import argparse
import math
import time

import torch

from augment import Strength, augment
from data import load_split, pad_targets
from evaluate import evaluate
from losses import detection_losses
from model import MovingAverage, build_model, save_folder, start_from, training_outputs

WARM_UP_SECONDS = 15
STEPS_BETWEEN_LINES = 200


def parse_options():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("data", help="folder with images/, instances_train.json and instances_val.json")
    add("out", help="folder for the trained model")

    group = parser.add_argument_group("training").add_argument
    group("--minutes", type=float, default=6, help="training time, without loading, compiling and evaluating")
    group("--weights", metavar="FOLDER", help="start from a trained model of the same architecture, at any --size; "
          "random weights otherwise")
    group("--batch", type=int, default=96, help="images a step")
    group("--lr", type=float, default=6e-4, help="peak learning rate of AdamW; a cosine takes it down to 1 %%")
    group("--weight-decay", type=float, default=0.05, help="of matrices; not of biases, norms, embeddings, heads")
    group("--drop-path", type=float, default=0.0, help="chance that a residual branch of the ViT is skipped")
    group("--groups", type=int, default=4, help="query groups trained at once; the first one is kept")
    group("--max-objects", type=int, default=400, help="objects an image; more are dropped")
    group("--duplicate-power", type=float, default=2.0, help="weight p^power against a second box on an object; "
          "2 is that of any background, lower is firmer")
    group("--ema", type=float, default=0.9995, help="decay of the averaged weights, which are the ones saved")
    group("--evaluations", type=int, default=2, help="times to evaluate and save on the way")
    group("--seed", type=int, default=0, help="of weights, order and augmentation")

    group = parser.add_argument_group("augmentation").add_argument
    group("--zoom", type=float, nargs=2, default=(0.8, 2.2), metavar=("LOW", "HIGH"), help="range of magnification")
    group("--turn", action="store_true", help="also mirror up-down and transpose (pictures without up and down)")
    group("--splice", type=float, default=0.0, help="chance of a cut across, and of one along, where an image ends "
          "and another begins")
    group("--background", type=float, default=0.0, help="chance that an image is seen anywhere, objects or not")
    group("--gentle", type=float, default=0.1, help="part of the training, its last, that shows images nearly as they "
          "are")

    group = parser.add_argument_group("architecture").add_argument
    group("--size", type=int, default=512, help="side of the square input, a multiple of 16 times --windows")
    group("--hidden", type=int, default=192, help="width of the ViT")
    group("--heads", type=int, default=3, help="its attention heads")
    group("--layers", type=int, default=12, help="its layers, a multiple of 4")
    group("--windows", type=int, default=2, help="attention windows along each side")
    group("--decoder-layers", type=int, default=2, help="layers of the decoder")
    group("--decoder-ffn", type=int, default=1024, help="width of its feed-forward part")
    group("--c2f-blocks", type=int, default=2, help="convolution blocks between ViT and decoder")
    group("--queries", type=int, default=300, help="detections an image, at most")

    group = parser.add_argument_group("machine").add_argument
    group("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda, or cpu to try the code")
    group("--no-compile", action="store_true", help="do without torch.compile (a minute, then steps take half)")
    group("--limit", type=int, help="only the first so many images of each split, to try the code")
    return parser.parse_args()


def make_optimizer(model, options):
    decayed, plain = [], []
    for name, parameter in model.named_parameters():
        is_plain = parameter.ndim < 2 or "embed" in name or "cls_token" in name
        (plain if is_plain else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.98), fused=options.device == "cuda")


def learning_rate(peak, seconds, progress):
    warm_up = min(1.0, seconds / WARM_UP_SECONDS)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return peak * warm_up * (0.01 + 0.99 * cosine)


def shuffled_batches(count, batch):
    """Index tensors (batch,) for ever; every epoch in a new order, its remainder left out."""
    batch = min(batch, count)
    while True:
        order = torch.randperm(count)
        for start in range(0, count - batch + 1, batch):
            yield order[start : start + batch]


class Trainer:
    def __init__(self, options):
        self.options = options
        self.train = load_split(options.data, "train", options.size, options.device, options.limit)
        self.val = load_split(options.data, "val", options.size, options.device, options.limit)
        self.boxes, self.valid = pad_targets(self.train.targets, options.max_objects, options.device)
        self.batches = shuffled_batches(len(self.train), options.batch)
        self.strong = Strength(
            tuple(options.zoom), 0.25, options.turn, colour=True, splice=options.splice, background=options.background
        )
        self.gentle = Strength(
            (1.0, 1.3), 0.05, options.turn, colour=False, splice=options.splice, background=0.0
        )

        self.model = build_model(options, self.train.names).to(options.device).train()
        if options.weights:
            start_from(self.model, options.weights)
        self.average = MovingAverage(self.model, options.ema)
        self.optimizer = make_optimizer(self.model, options)
        if not options.no_compile:
            self.model.model.compile(dynamic=False)

    def losses(self, strength):
        """The losses of the next batch, ready for `backward`."""
        index = next(self.batches).to(self.options.device)
        images = self.train.images[index].float() / 255
        images, boxes, valid = augment(images, self.boxes[index], self.valid[index], strength)
        with torch.autocast(self.options.device, torch.bfloat16):
            logits, predicted = training_outputs(self.model, images)
        return detection_losses(logits, predicted, boxes, valid, self.options.duplicate_power)

    def compile(self):
        """Have everything compiled before the clock starts."""
        self.losses(self.strong).total().backward()
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, rate, strength):
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        losses = self.losses(strength)
        losses.total().backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update()
        return losses

    def evaluate_and_save(self):
        result = evaluate(self.average.model, self.val, autocast=True)
        save_folder(self.average.model, self.options.out)
        return result

    def run(self):
        total = self.options.minutes * 60
        evaluations = [total * (i + 1) / (self.options.evaluations + 1) for i in range(self.options.evaluations)]
        started, paused, steps = time.monotonic(), 0.0, 0
        while (seconds := time.monotonic() - started - paused) < total:
            progress = seconds / total
            strength = self.strong if progress < 1 - self.options.gentle else self.gentle
            losses = self.step(learning_rate(self.options.lr, seconds, progress), strength)
            steps += 1
            if steps % STEPS_BETWEEN_LINES == 0:
                say(
                    f"step {steps} {seconds:.0f} s loss {losses.total():.3f} class {losses.classification:.3f} "
                    f"l1 {losses.l1:.3f} giou {losses.giou:.3f} iou {losses.mean_iou:.3f} "
                    f"unmatched {100 * losses.unmatched:.2f} % {steps * self.options.batch / seconds:.0f} images/s"
                )
            if evaluations and seconds > evaluations[0]:
                evaluations.pop(0)
                pause = time.monotonic()
                say(f"== {seconds:.0f} s {self.evaluate_and_save().summary()}")
                paused += time.monotonic() - pause
        result = self.evaluate_and_save()
        say(f"== final, {steps} steps {result.summary()}\n{result.table()}")


def say(line):
    print(line, flush=True)


def main():
    options = parse_options()
    torch.manual_seed(options.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True

    started = time.monotonic()
    trainer = Trainer(options)
    parameters = sum(parameter.numel() for parameter in trainer.model.parameters())
    say(f"{len(trainer.train)} training and {len(trainer.val)} validation images, classes {trainer.train.names}")
    say(f"{parameters / 1e6:.2f} M parameters, loaded in {time.monotonic() - started:.0f} s")
    started = time.monotonic()
    trainer.compile()
    say(f"first step after {time.monotonic() - started:.0f} s")
    trainer.run()


if __name__ == "__main__":
    main()

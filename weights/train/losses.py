"""The training loss: IoU-aware classification plus L1 and generalised IoU of the matched boxes, per layer and group."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from boxes import overlap
from matching import match

BACKGROUND_POWER = 2.0
DUPLICATE_IOU = 0.5


@dataclass
class Losses:
    """Scalars. For the log: `mean_iou` of matched pairs, `unmatched` share of targets without a query."""

    classification: torch.Tensor
    l1: torch.Tensor
    giou: torch.Tensor
    mean_iou: torch.Tensor
    unmatched: torch.Tensor

    def total(self):
        return self.classification + 5 * self.l1 + 2 * self.giou


def detection_losses(logits, boxes, targets, valid, duplicate_power):
    """The losses of every output layer (the decoder's, then the encoder's proposals) and every query group.

    logits   (L, B, G, Q, C) float32: layers, batch, groups, queries, classes
    boxes    (L, B, G, Q, 4) float32, cxcywh
    targets  (B, M, 5) class + cxcywh;  valid (B, M) bool

    Each layer and group is matched on its own. `duplicate_power`: see `classification_loss`.
    """
    layers, _, groups = logits.shape[:3]
    objects = (valid.sum() * groups).clamp(min=1).float()
    parts = []
    for images, most in chunks_of_like_size(valid):

        def per_problem(tensor):
            tensor = tensor[images, :most]
            return tensor[None, :, None].expand(layers, -1, groups, *tensor.shape[1:]).flatten(0, 2)

        is_decoder = torch.arange(layers, device=logits.device) < layers - 1
        is_decoder = is_decoder[:, None].expand(layers, len(images) * groups).flatten()
        parts.append(
            problem_losses(
                logits[:, images].flatten(0, 2),
                boxes[:, images].flatten(0, 2),
                per_problem(targets[..., 0].long()),
                per_problem(targets[..., 1:]),
                per_problem(valid),
                torch.where(is_decoder, duplicate_power, BACKGROUND_POWER),
            )
        )
    classification, l1, giou, iou, matched = (torch.stack(column).sum() for column in zip(*parts))
    return Losses(
        classification / objects,
        l1 / objects,
        giou / objects,
        (iou / matched.clamp(min=1)).detach(),
        (1 - matched / (objects * layers)).detach(),
    )


def chunks_of_like_size(valid):
    """Split a batch by its images' object counts, so that few images pay for the padding that the fullest ones need.

    valid (B, M) bool -> a list of (image indices, largest count among them): half of the batch, a quarter, an eighth
    and the rest, from the emptiest to the fullest.
    """
    counts, order = valid.sum(dim=1).sort()
    batch = len(order)
    ends = sorted({batch // 2, batch * 3 // 4, batch * 7 // 8, batch} - {0})
    largest = counts[[end - 1 for end in ends]].tolist()
    starts = [0, *ends[:-1]]
    return [(order[start:end], max(1, most)) for start, end, most in zip(starts, ends, largest)]


def problem_losses(logits, boxes, target_class, target_boxes, target_valid, duplicate_power):
    """Sums over P matching problems: logits (P, Q, C), boxes (P, Q, 4), targets (P, M[, 4]), duplicate_power (P,).

    Returns classification, L1, GIoU, IoU of the matched pairs, and the number of matched pairs.
    """
    query, largest_iou = match(logits.detach().sigmoid(), boxes.detach(), target_class, target_boxes, target_valid)
    problem, target = (query >= 0).nonzero(as_tuple=True)
    query = query[problem, target]
    label = target_class[problem, target]

    matched_boxes, wanted_boxes = boxes[problem, query], target_boxes[problem, target]
    iou, giou = overlap(matched_boxes, wanted_boxes)
    l1 = (matched_boxes - wanted_boxes).abs().sum(dim=-1)

    classification = classification_loss(logits, (problem, query, label), iou.detach(), largest_iou, duplicate_power)
    return classification, l1.sum(), (1 - giou).sum(), iou.detach().sum(), torch.ones_like(iou).sum()


def classification_loss(logits, matched, iou, largest_iou, duplicate_power):
    """IoU-aware binary cross-entropy, after Align-DETR (Cai et al., 2023), with a firm hand on duplicates.

    A matched query's score p is pulled towards t = p^0.25 IoU^0.75. Any other score is pushed to 0 with weight p^2,
    which is lenient: where two queries fit an object alike, both keep a high score. So the scores of a query that
    lies on a target (IoU >= 0.5), other than the one it was matched for, get the weight p^duplicate_power instead.

    logits (P, Q, C); matched: problem, query and class index of every matched pair; iou: theirs;
    largest_iou (P, Q): each query's with any target; duplicate_power (P,). Returns the sum.
    """
    with torch.no_grad():
        probability = logits.sigmoid()
        target = (probability[matched] ** 0.25 * iou.clamp(min=0) ** 0.75).clamp(min=0.01)
        power = torch.where(largest_iou >= DUPLICATE_IOU, duplicate_power[:, None], BACKGROUND_POWER)
        negative = probability ** power[..., None]
        negative[matched] = 1 - target
        positive = torch.zeros_like(logits)
        positive[matched] = target
    return -(positive * F.logsigmoid(logits) + negative * F.logsigmoid(-logits)).sum()

"""One-to-one matching of queries and targets, for many images at once and without leaving the GPU."""

import torch

from boxes import overlap

MOST_ROUNDS = 128
ROUNDS_BETWEEN_CHECKS = 6  # asking whether any target is left waits for the GPU


@torch.no_grad()
def match(probability, boxes, target_class, target_boxes, target_valid):
    """Match P independent problems of Q queries and M targets.

    probability   (P, Q, C)  sigmoid scores
    boxes         (P, Q, 4)  cxcywh
    target_class  (P, M) long;  target_boxes (P, M, 4);  target_valid (P, M) bool

    Returns the query of each target (P, M), -1 where there is none, and each query's largest IoU with a target (P, Q).
    """
    score = probability.gather(2, target_class[:, None, :].expand(-1, boxes.shape[1], -1)).clamp(1e-6, 1 - 1e-6)
    focal = -0.25 * (1 - score) ** 2 * score.log() + 0.75 * score**2 * (1 - score).log()
    distance = (boxes[:, :, None] - target_boxes[:, None]).abs().sum(dim=-1)
    iou, giou = overlap(boxes[:, :, None], target_boxes[:, None])
    cost = 2 * focal + 5 * distance - 2 * giou
    cost = torch.where(target_valid[:, None], cost, torch.inf)
    largest_iou = torch.where(target_valid[:, None], iou, 0).amax(dim=2)
    return match_greedily(cost), largest_iou


def match_greedily(cost):
    """Repeatedly take the cheapest pair: cost (P, Q, M) -> query of each target (P, M), -1 where none is left.

    Every round takes all pairs in which each is the other's cheapest. They are the pairs a one-by-one greedy choice
    would arrive at, since no cheaper pair can claim either side. `cost` is overwritten; inf marks what is not allowed.
    """
    problems, queries, targets = cost.shape
    matched = torch.full((problems, targets), -1, dtype=torch.long, device=cost.device)
    target_index = torch.arange(targets, device=cost.device)

    for turn in range(MOST_ROUNDS):
        lowest, query = cost.min(dim=1)
        allowed = lowest.isfinite()
        if turn % ROUNDS_BETWEEN_CHECKS == 0 and not allowed.any():
            break
        mutual = (cost.argmin(dim=2).gather(1, query) == target_index) & allowed
        matched = torch.where(mutual, query, matched)

        taken = torch.zeros(problems, queries, device=cost.device)
        taken = taken.scatter_reduce(1, query, mutual.float(), "amax") > 0
        cost.masked_fill_(taken[:, :, None] | mutual[:, None, :], torch.inf)
    return matched

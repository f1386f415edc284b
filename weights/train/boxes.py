"""Box arithmetic. Boxes are (..., 4): centre x, centre y, width, height, as fractions of the image ("cxcywh")."""

import torch


def to_corners(boxes):
    """cxcywh (..., 4) -> left, top, right, bottom (..., 4). Works on tensors."""
    half = boxes[..., 2:] / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], dim=-1)


def overlap(a, b):
    """IoU and generalised IoU of cxcywh boxes (..., 4) whose leading dimensions broadcast -> (...), (...)."""
    a_left, a_top, a_right, a_bottom = to_corners(a).unbind(-1)
    b_left, b_top, b_right, b_bottom = to_corners(b).unbind(-1)

    width = (torch.minimum(a_right, b_right) - torch.maximum(a_left, b_left)).clamp(min=0)
    height = (torch.minimum(a_bottom, b_bottom) - torch.maximum(a_top, b_top)).clamp(min=0)
    intersection = width * height
    union = a[..., 2] * a[..., 3] + b[..., 2] * b[..., 3] - intersection
    iou = intersection / union.clamp(min=1e-9)

    hull_width = torch.maximum(a_right, b_right) - torch.minimum(a_left, b_left)
    hull_height = torch.maximum(a_bottom, b_bottom) - torch.minimum(a_top, b_top)
    hull = (hull_width * hull_height).clamp(min=1e-9)
    return iou, iou - (hull - union) / hull

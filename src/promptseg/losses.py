"""Loss functions of masks, predicted IoU and presence.

Shapes: N masks (one per phrase), H W pixels of the loss grid. A loss of masks returns one value per mask, so that an
objective can weight positives, negatives and sources. It is computed in float32 whatever the precision of the network.
`valid` marks the pixels that count; a mask without a valid pixel has loss 0 and no gradient.
"""

import torch
from torch import Tensor
from torch.nn import functional


def _mean_over_valid(values: Tensor, valid: Tensor | None) -> Tensor:
    """Return the mean of values, shape (N, H, W), over the valid pixels of each mask, shape (N,)."""
    if valid is None:
        return values.flatten(1).mean(1)
    weight = valid.to(values.dtype)
    return (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1.0)


def mask_bce(
    mask_logits: Tensor, target: Tensor, *, valid: Tensor | None = None, positive_weight: float = 1.0
) -> Tensor:
    """Compute the binary cross-entropy of each mask, averaged over valid pixels.

    Args:
        mask_logits: Shape (N, H, W), float.
        target: Shape (N, H, W), bool or float in [0, 1].
        valid: Shape (N, H, W), bool; None: every pixel.
        positive_weight: Factor on the loss of object pixels, for small objects.

    Returns:
        Shape (N,), float32.
    """
    mask_logits = mask_logits.float()
    values = functional.binary_cross_entropy_with_logits(
        mask_logits, target.float(), reduction="none", pos_weight=mask_logits.new_tensor(positive_weight)
    )
    return _mean_over_valid(values, valid)


def dice_loss(mask_logits: Tensor, target: Tensor, *, valid: Tensor | None = None, smooth: float = 1.0) -> Tensor:
    """Compute the soft Dice loss of each mask, 1 - 2 |P T| / (|P| + |T|) on probabilities.

    Args:
        mask_logits: Shape (N, H, W), float.
        target: Shape (N, H, W), bool or float in [0, 1].
        valid: Shape (N, H, W), bool; None: every pixel.
        smooth: Added to both sides of the fraction, in pixels; keeps an empty target defined.

    Returns:
        Shape (N,), float32, in [0, 1].

    Source:
        Milletari et al. 2016, arXiv:1606.04797; with |P| instead of |P|^2, as in MaskFormer and SAM.
    """
    probability, target = mask_logits.float().sigmoid(), target.float()
    if valid is not None:
        probability, target = probability * valid, target * valid
    intersection = (probability * target).flatten(1).sum(1)
    total = probability.flatten(1).sum(1) + target.flatten(1).sum(1)
    return 1.0 - (2.0 * intersection + smooth) / (total + smooth)


def mask_iou(mask_logits: Tensor, target: Tensor, *, valid: Tensor | None = None, threshold: float = 0.0) -> Tensor:
    """Compute the intersection over union of thresholded masks and their targets.

    Args:
        mask_logits: Shape (N, H, W), float.
        target: Shape (N, H, W), bool, or float thresholded at 0.5.
        valid: Shape (N, H, W), bool; None: every pixel.
        threshold: Logit above which a pixel belongs to the object.

    Returns:
        Shape (N,), float32, without gradient; 1 where prediction and target are both empty.
    """
    predicted, target = mask_logits.detach() > threshold, target > 0.5
    if valid is not None:
        predicted, target = predicted & valid, target & valid
    intersection = (predicted & target).flatten(1).sum(1).float()
    union = (predicted | target).flatten(1).sum(1).float()
    return torch.where(union > 0, intersection / union.clamp(min=1.0), 1.0)


def iou_regression_loss(predicted_iou: Tensor, actual_iou: Tensor) -> Tensor:
    """Compute the squared error of the IoU that the network predicts for its own mask.

    Args:
        predicted_iou: Shape (N,), float, in [0, 1].
        actual_iou: Shape (N,), float, from `mask_iou`.

    Returns:
        Shape (N,), float32.
    """
    return (predicted_iou.float() - actual_iou.detach().float()) ** 2


def presence_loss(presence_logit: Tensor, present: Tensor, *, balanced: bool = True) -> Tensor:
    """Compute the binary cross-entropy of presence.

    Args:
        presence_logit: Shape (N,), float.
        present: Shape (N,), bool.
        balanced: Whether present and absent phrases have the same total weight, whatever their numbers.

    Returns:
        Scalar, float32.
    """
    target = present.float()
    values = functional.binary_cross_entropy_with_logits(presence_logit.float(), target, reduction="none")
    if not balanced:
        return values.mean()
    groups = [values[present], values[~present]]
    return torch.stack([group.mean() for group in groups if group.numel()]).mean()

"""Loss functions on tensors: what a mask, a predicted IoU, a presence score and a vocabulary map should have been.

Shapes: N masks (one per phrase), B images, V names of a vocabulary, H W pixels of the loss grid. A loss over masks
returns one value per mask, so that an objective can weight positives, negatives and sources as it likes; it computes in
float32 whatever the precision of the network. `valid` marks the pixels that count; a mask without one has loss 0 and no
gradient.
"""

import torch
from torch import Tensor
from torch.nn import functional

IGNORE = -1
"""Label of a pixel whose name is not known (see `vocabulary_loss`)."""


def _mean_over_valid(values: Tensor, valid: Tensor | None) -> Tensor:
    """Average (N, H, W) values over the valid pixels of each mask; (N,)."""
    if valid is None:
        return values.flatten(1).mean(1)
    weight = valid.to(values.dtype)
    return (values * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp(min=1.0)


def mask_bce(
    mask_logits: Tensor, target: Tensor, *, valid: Tensor | None = None, positive_weight: float = 1.0
) -> Tensor:
    """Binary cross-entropy per mask, averaged over valid pixels.

    Args:
        mask_logits: Shape (N, H, W), float.
        target: Shape (N, H, W), bool or float in [0, 1].
        valid: Shape (N, H, W), bool; None means every pixel.
        positive_weight: Factor on the loss of object pixels, for objects that are small in their image.

    Returns:
        Shape (N,), float32.
    """
    mask_logits = mask_logits.float()
    values = functional.binary_cross_entropy_with_logits(
        mask_logits, target.float(), reduction="none", pos_weight=mask_logits.new_tensor(positive_weight)
    )
    return _mean_over_valid(values, valid)


def focal_loss(
    mask_logits: Tensor, target: Tensor, *, valid: Tensor | None = None, alpha: float = 0.25, gamma: float = 2.0
) -> Tensor:
    """Focal loss per mask, averaged over valid pixels.

    Args:
        mask_logits: Shape (N, H, W), float.
        target: Shape (N, H, W), bool or float in [0, 1].
        valid: Shape (N, H, W), bool; None means every pixel.
        alpha: Weight of object pixels; background has 1 - alpha.
        gamma: Exponent that fades out what is already right; 0 leaves weighted cross-entropy.

    Returns:
        Shape (N,), float32.

    Source:
        Lin et al. 2017, arXiv:1708.02002, equation 5.
    """
    mask_logits, target = mask_logits.float(), target.float()
    cross_entropy = functional.binary_cross_entropy_with_logits(mask_logits, target, reduction="none")
    probability = mask_logits.sigmoid()
    error = probability + target - 2 * probability * target  # 1 - p_t
    weight = alpha * target + (1 - alpha) * (1 - target)
    return _mean_over_valid(weight * error**gamma * cross_entropy, valid)


def dice_loss(mask_logits: Tensor, target: Tensor, *, valid: Tensor | None = None, smooth: float = 1.0) -> Tensor:
    """Soft Dice loss per mask, 1 - 2 |P T| / (|P| + |T|) on probabilities.

    Args:
        mask_logits: Shape (N, H, W), float.
        target: Shape (N, H, W), bool or float in [0, 1].
        valid: Shape (N, H, W), bool; None means every pixel.
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
    """Intersection over union of thresholded masks and their targets.

    Args:
        mask_logits: Shape (N, H, W), float.
        target: Shape (N, H, W), bool, or float cut at 0.5.
        valid: Shape (N, H, W), bool; None means every pixel.
        threshold: Logit above which a pixel is object.

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
    """Squared error of the IoU that the network expects of its own mask.

    Args:
        predicted_iou: Shape (N,), float, in [0, 1].
        actual_iou: Shape (N,), float, from `mask_iou`.

    Returns:
        Shape (N,), float32.
    """
    return (predicted_iou.float() - actual_iou.detach().float()) ** 2


def presence_loss(presence_logit: Tensor, present: Tensor, *, balanced: bool = True) -> Tensor:
    """Binary cross-entropy of "is it in the image".

    Args:
        presence_logit: Shape (N,), float.
        present: Shape (N,), bool.
        balanced: Present and absent phrases weigh the same in sum, however many there are of each.

    Returns:
        Scalar, float32.
    """
    target = present.float()
    values = functional.binary_cross_entropy_with_logits(presence_logit.float(), target, reduction="none")
    if not balanced:
        return values.mean()
    groups = [values[present], values[~present]]
    return torch.stack([group.mean() for group in groups if group.numel()]).mean()


def vocabulary_loss(logits: Tensor, label: Tensor, *, competing: Tensor | None = None) -> Tensor:
    """Softmax cross-entropy per pixel over the names sampled for this batch.

    Args:
        logits: Shape (B, V, H, W), float: pixel embedding times text embedding, already divided by the temperature.
        label: Shape (B, H, W), int64: which of the V names the pixel has; `IGNORE` where that is not known.
        competing: Shape (B, V), bool: the names that are known to be wrong where they are not the label. A name that
            may be in the image without being annotated must be left out. None means all.

    Returns:
        Shape (B,), float32: mean over the labeled pixels of each image; 0 for an image without one.
    """
    logits = logits.float()
    if competing is not None:
        logits = logits.masked_fill(~competing[:, :, None, None], torch.finfo(logits.dtype).min)
    values = functional.cross_entropy(logits, label, ignore_index=IGNORE, reduction="none")
    return _mean_over_valid(values, label != IGNORE)

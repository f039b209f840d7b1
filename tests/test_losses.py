"""Losses against independent formulas and other people's implementations."""

import numpy as np
import pytest
import torch
from sklearn.metrics import jaccard_score, log_loss
from torch.nn import functional
from transformers.loss.loss_for_object_detection import dice_loss as transformers_dice

from promptseg import losses


@pytest.fixture
def masks() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask_logits = torch.randn(4, 9, 7, generator=generator) * 3
    target = torch.rand(4, 9, 7, generator=generator) > 0.7
    valid = torch.rand(4, 9, 7, generator=generator) > 0.2
    return mask_logits, target, valid


def test_mask_bce_matches_scikit_learn_on_valid_pixels(masks):
    mask_logits, target, valid = masks
    expected = [
        log_loss(target[i][valid[i]].numpy(), mask_logits[i][valid[i]].double().sigmoid().numpy(), labels=[False, True])
        for i in range(4)
    ]
    assert losses.mask_bce(mask_logits, target, valid=valid).tolist() == pytest.approx(expected, rel=1e-5)


def test_mask_bce_weights_object_pixels(masks):
    mask_logits, target, _ = masks
    weight = torch.where(target, 5.0, 1.0)
    expected = functional.binary_cross_entropy_with_logits(mask_logits, target.float(), weight, reduction="none")
    actual = losses.mask_bce(mask_logits, target, positive_weight=5.0)
    torch.testing.assert_close(actual, expected.mean((1, 2)))


def test_dice_matches_transformers(masks):
    mask_logits, target, _ = masks
    expected = transformers_dice(mask_logits.flatten(1), target.float().flatten(1), num_boxes=4)
    torch.testing.assert_close(losses.dice_loss(mask_logits, target).mean(), expected)


def test_dice_ignores_invalid_pixels(masks):
    mask_logits, target, valid = masks
    noise = torch.where(valid, mask_logits, 50.0)
    torch.testing.assert_close(
        losses.dice_loss(mask_logits, target, valid=valid), losses.dice_loss(noise, target | ~valid, valid=valid)
    )


def test_mask_iou_matches_scikit_learn(masks):
    mask_logits, target, valid = masks
    expected = [jaccard_score(target[i][valid[i]].numpy(), (mask_logits[i] > 0.5)[valid[i]].numpy()) for i in range(4)]
    assert losses.mask_iou(mask_logits, target, valid=valid, threshold=0.5).tolist() == pytest.approx(expected)


def test_mask_iou_of_two_empty_masks_is_one():
    assert losses.mask_iou(torch.full((1, 2, 2), -1.0), torch.zeros(1, 2, 2)).item() == 1.0


def test_iou_regression_has_no_gradient_into_the_actual_iou():
    predicted, actual = torch.tensor([0.2], requires_grad=True), torch.tensor([0.5], requires_grad=True)
    loss = losses.iou_regression_loss(predicted, actual).sum()
    loss.backward()
    assert loss.item() == pytest.approx(0.09) and actual.grad is None and predicted.grad.item() == pytest.approx(-0.6)


def test_presence_loss_balances_the_two_answers():
    logit = torch.tensor([2.0, -1.0, 0.5, -3.0])
    present = torch.tensor([True, False, False, False])
    positive = -np.log(1 / (1 + np.exp(-2.0)))
    negative = np.mean([np.log1p(np.exp(x)) for x in (-1.0, 0.5, -3.0)])
    assert losses.presence_loss(logit, present).item() == pytest.approx((positive + negative) / 2)
    assert losses.presence_loss(logit, present, balanced=False).item() == pytest.approx((positive + 3 * negative) / 4)
    assert losses.presence_loss(logit[:1], present[:1]).item() == pytest.approx(positive)


@pytest.mark.parametrize("loss", [losses.mask_bce, losses.dice_loss])
def test_mask_without_a_valid_pixel_costs_nothing_and_has_no_gradient(loss):
    mask_logits = torch.randn(1, 4, 4, requires_grad=True)
    value = loss(mask_logits, torch.ones(1, 4, 4), valid=torch.zeros(1, 4, 4, dtype=torch.bool)).sum()
    value.backward()
    assert value.item() == 0.0 and mask_logits.grad.abs().max() == 0.0


@pytest.mark.parametrize("loss", [losses.mask_bce, losses.dice_loss])
def test_losses_compute_in_float32_for_half_precision_logits(loss, masks):
    mask_logits, target, _ = masks
    value = loss(mask_logits.to(torch.bfloat16), target)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(mask_logits, target), atol=0.02, rtol=0.02)

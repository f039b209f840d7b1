"""The plain objective: its parts and weights, and the numbers and examples of validation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from promptseg.layers.mask_decoder import DecodedQueries
from promptseg.losses import dice_loss
from promptseg.train.objectives import LossWeights, examine_phrases, phrase_losses, validate_phrases
from promptseg.train.recipe import load_recipe
from promptseg.train.samples import PhraseBatch, PhraseSource

TINY = load_recipe(Path(__file__).parents[2] / "recipes" / "tiny.py")


def decode(mask_logits: torch.Tensor) -> DecodedQueries:
    num = len(mask_logits)
    return DecodedQueries(mask_logits, torch.full((num,), 0.5), torch.zeros(num))


@pytest.fixture
def batch() -> PhraseBatch:
    target = torch.zeros(3, 4, 4)
    target[0, :2] = 1.0
    target[1, :, :2] = 1.0
    return PhraseBatch(
        images_rgb=None, maps=None, texts=("a", "b", "c"), image_index=torch.tensor([0, 0, 0]), target=target,
        valid=torch.ones(3, 4, 4, dtype=torch.bool), present=torch.tensor([True, True, False]),
        weight=torch.tensor([1.0, 0.5, 1.0]), sample_ids=("image",),
    )  # fmt: skip


def test_loss_is_the_weighted_sum_of_its_parts(batch):
    weights = LossWeights(bce=2.0, dice=3.0, absent=5.0, iou=7.0, presence=11.0)
    losses = phrase_losses(decode(torch.randn(3, 4, 4)), batch, weights)
    names = {"bce": 2.0, "dice": 3.0, "absent": 5.0, "iou_error": 7.0, "presence": 11.0}
    assert losses["loss"].item() == pytest.approx(sum(losses[n].item() * w for n, w in names.items()), rel=1e-5)


def test_perfect_prediction_has_almost_no_loss(batch):
    losses = phrase_losses(decode((batch.target - 0.5) * 60), batch, LossWeights())
    assert losses["iou"].item() == 1.0 and losses["bce"].item() < 1e-6 and losses["dice"].item() < 1e-6
    assert losses["absent"].item() < 1e-6 and losses["iou_error"].item() == pytest.approx(0.25)


def test_annotations_are_weighted(batch):
    mask_logits = torch.randn(3, 4, 4)
    dice = dice_loss(mask_logits, batch.target)
    losses = phrase_losses(decode(mask_logits), batch, LossWeights())
    assert losses["dice"].item() == pytest.approx(((dice[0] + 0.5 * dice[1]) / 2).item())


def test_low_resolution_masks_are_compared_on_the_loss_grid(batch):
    losses = phrase_losses(decode(torch.full((3, 2, 2), -9.0)), batch, LossWeights())
    assert losses["iou"].item() == 0.0


def test_batch_without_absent_phrases_has_a_loss(batch):
    alone = replace(batch, present=torch.ones(3, dtype=torch.bool))
    losses = phrase_losses(decode(torch.zeros(3, 4, 4)), alone, LossWeights())
    assert losses["absent"].item() == 0.0 and losses["loss"].isfinite()


@pytest.fixture(scope="module")
def validation(tmp_path_factory) -> PhraseSource:
    return TINY.build_data(tmp_path_factory.mktemp("shapes"), None)[1]


def test_validation_gives_the_same_numbers_twice(validation):
    torch.manual_seed(0)
    model = TINY.build_model().eval()
    with torch.no_grad():
        first, second = validate_phrases(model, validation), validate_phrases(model, validation)
    assert first == second and {"loss", "iou", "iou_median", "iou_at_50"} <= first.keys()


def test_examples_have_the_size_of_their_image(validation):
    torch.manual_seed(0)
    examples = list(examine_phrases(TINY.build_model().eval(), validation))
    assert len(examples) == 2 * len(validation.samples)
    for example in examples:
        assert example.prediction.shape == example.truth.shape == example.image_rgb.shape[:2] == (96, 96)
        union = np.count_nonzero(example.prediction | example.truth)
        assert example.iou == pytest.approx(np.count_nonzero(example.prediction & example.truth) / union)

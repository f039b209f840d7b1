"""The plain objective: what counts, what does not, and that validation says what the answers are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from promptseg.losses import dice_loss
from promptseg.models.promptseg.text_segmenter import Decoded
from promptseg.train.objectives import LossWeights, examine_phrases, phrase_losses, validate_phrases
from promptseg.train.recipe import load_recipe
from promptseg.train.samples import PhraseBatch, PhraseSource

TINY = load_recipe(Path(__file__).parents[2] / "recipes" / "tiny.py")


def answer(mask_logits: torch.Tensor) -> Decoded:
    num = len(mask_logits)
    return Decoded(mask_logits, torch.full((num,), 0.5), torch.zeros(num), similarity=None)


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
    losses = phrase_losses(answer(torch.randn(3, 4, 4)), batch, weights)
    names = {"bce": 2.0, "dice": 3.0, "absent": 5.0, "iou_error": 7.0, "presence": 11.0}
    assert losses["loss"].item() == pytest.approx(sum(losses[n].item() * w for n, w in names.items()), rel=1e-5)


def test_perfect_answer_costs_almost_nothing(batch):
    losses = phrase_losses(answer((batch.target - 0.5) * 60), batch, LossWeights())
    assert losses["iou"].item() == 1.0 and losses["bce"].item() < 1e-6 and losses["dice"].item() < 1e-6
    assert losses["absent"].item() < 1e-6 and losses["iou_error"].item() == pytest.approx(0.25)


def test_annotations_count_by_how_far_they_are_trusted(batch):
    mask_logits = torch.randn(3, 4, 4)
    dice = dice_loss(mask_logits, batch.target)
    losses = phrase_losses(answer(mask_logits), batch, LossWeights())
    assert losses["dice"].item() == pytest.approx(((dice[0] + 0.5 * dice[1]) / 2).item())


def test_low_resolution_answers_are_compared_on_the_loss_grid(batch):
    losses = phrase_losses(answer(torch.full((3, 2, 2), -9.0)), batch, LossWeights())
    assert losses["iou"].item() == 0.0


def test_batch_without_absent_phrases_has_a_loss(batch):
    alone = replace(batch, present=torch.ones(3, dtype=torch.bool))
    losses = phrase_losses(answer(torch.zeros(3, 4, 4)), alone, LossWeights())
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


def test_cases_are_answers_at_the_images_own_size(validation):
    torch.manual_seed(0)
    cases = list(examine_phrases(TINY.build_model().eval(), validation))
    assert len(cases) == 2 * len(validation.samples)
    for case in cases:
        assert case.prediction.shape == case.truth.shape == case.image_rgb.shape[:2] == (96, 96)
        union = np.count_nonzero(case.prediction | case.truth)
        assert case.iou == pytest.approx(np.count_nonzero(case.prediction & case.truth) / union)

"""Calibration of threshold, presence and predicted IoU on held-out images."""

import copy
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from promptseg.data.sample import Sample, Target
from promptseg.errors import DataError
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.registry import load_network
from promptseg.ops.rle import encode_rle
from promptseg.train.presence_calibration import EVIDENCE_CONFIG, CalibrationPairs, calibrate_head, collect_pairs


@pytest.fixture
def model() -> PromptSegNetwork:
    return load_network("promptseg-test-dense")


def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(4):
        mask = np.zeros((48, 64), dtype=bool)
        mask[10:34, 8 * number : 8 * number + 30] = True
        image = rng.integers(0, 60, (48, 64, 3), dtype=np.uint8)
        image[mask] += 150
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        targets = (
            Target("cat", masks=(encode_rle(mask),)),
            Target("ball", boxes_xyxy=((2.0, 2.0, 20.0, 20.0),)),
            Target("street"),
            Target("left cat", kind="phrase", masks=(encode_rle(mask),)),
        )
        known = frozenset({"cat", "zebra", "train", "pizza", "bus"})
        made.append(Sample(str(number), stream.getvalue(), (48, 64), targets, exhaustive=known))
    return made


def test_pairs_are_masks_boxes_and_as_many_absent_names(model: PromptSegNetwork) -> None:
    pairs = collect_pairs(model, samples(), seed=0)
    # of each image a mask, a box, and two absent names; no tag, no phrase
    assert pairs.present.tolist() == [True, True, False, False] * 4
    assert pairs.has_mask.tolist() == [True, False, True, True] * 4
    shares = [truth.mean().item() for truth in pairs.truth]
    assert shares[0] == pytest.approx(24 * 30 / (48 * 64), abs=5e-3) and shares[2] == shares[3] == 0.0
    for maps in zip(pairs.similarity, pairs.truth, strict=True):
        assert {tuple(one.shape) for one in maps} == {(12, 12)}
    again = collect_pairs(model, samples(), seed=0)
    assert all(torch.equal(a, b) for a, b in zip(pairs.similarity, again.similarity, strict=True))


@pytest.mark.parametrize("wanted", ["present", "absent"])
def test_one_kind_of_images_is_not_enough(model: PromptSegNetwork, wanted: str) -> None:
    (one, *_) = samples()
    parts = {"targets": one.targets, "exhaustive": frozenset()} if wanted == "present" else {"targets": ()}
    with pytest.raises(DataError, match="one kind is missing"):
        collect_pairs(model, [Sample(**{**vars(one), **parts})], seed=0)


def drawn_pairs() -> CalibrationPairs:
    """Maps that are nearly right at a wrong scale and shift."""
    generator = torch.Generator().manual_seed(0)
    present = torch.arange(12) % 2 == 0
    truth = [torch.zeros(8, 10) for _ in present]
    for row in range(0, 12, 2):
        truth[row][2:6, 1 : 4 + row // 2] = 1.0
    similarity = [2.0 * one - 7.0 + torch.randn(8, 10, generator=generator) for one in truth]
    has_mask = torch.ones(12, dtype=torch.bool)
    has_mask[4] = False  # known by its box, which only gives presence
    truth[4][:] = 1.0
    return CalibrationPairs(similarity, truth, present, has_mask, torch.full((12,), math.nan))


def test_the_threshold_is_the_best_of_all_that_are_tried(model: PromptSegNetwork) -> None:
    pairs = drawn_pairs()
    report = calibrate_head(model, pairs, config=replace(EVIDENCE_CONFIG, steps=1))
    scores = {}
    for edge in torch.linspace(-12.0, 6.0, 73).tolist():
        ious = []
        for row in (0, 2, 6, 8, 10):
            mask = pairs.similarity[row] > edge
            target = pairs.truth[row] > 0.5
            ious.append((mask & target).sum().item() / (mask | target).sum().item())
        scores[edge] = sum(ious) / len(ious)
    assert report["iou"] == pytest.approx(max(scores.values()), abs=1e-5)
    assert scores[report["threshold_logit"]] == pytest.approx(report["iou"], abs=1e-5)
    assert model.dense.mask_shift.item() == pytest.approx(-report["threshold_logit"])


def test_evidence_learns_presence_and_quality(model: PromptSegNetwork) -> None:
    pairs = drawn_pairs()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    report = calibrate_head(model, pairs)
    assert report["presence_loss"] < 0.2 and report["quality_error"] < 0.02
    with torch.no_grad():
        presence = torch.cat([model.dense.presence(similarity[None])[0] for similarity in pairs.similarity])
    assert presence[pairs.present].min() > presence[~pairs.present].max()
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith(("dense.mask_shift", "dense.evidence.")) for name in changed)
    again = load_network("promptseg-test-dense")
    assert calibrate_head(again, pairs) == report


def test_detections_weigh_as_much_as_they_separate(model: PromptSegNetwork) -> None:
    pairs = drawn_pairs()
    generator = torch.Generator().manual_seed(3)
    blind = calibrate_head(copy.deepcopy(model), pairs)
    seen = torch.where(pairs.present, 2.0, -3.0) + torch.randn(12, generator=generator)
    for detected, is_informative in ((seen, True), (torch.randn(12, generator=generator), False)):
        fitted = copy.deepcopy(model)
        assert calibrate_head(fitted, replace(pairs, detected=detected)) == blind, (
            "the head is fitted without detections"
        )
        evidence = fitted.config.detection_evidence
        assert evidence is not None and (evidence[0] > 0.05) == is_informative
    assert model.config.detection_evidence is None

"""Detected things are a name's mask or divide it; a referring phrase gets one of them."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from drawn_masker import SIZE_HW, DrawnMasker, Mask, rectangle, same

from promptseg import PointPrompt, Query, TextPrompt
from promptseg.detectors.box_selection import Boxes
from promptseg.encoders.paired import PairedTower
from promptseg.encoders.tiny import TinyConv
from promptseg.encoders.yolox import NUM_DETECTED, YoloxNano
from promptseg.language.class_names import COCO_THINGS
from promptseg.models.promptseg.instance_separation import find_touching, share_out, split_mask
from promptseg.models.promptseg.pipeline import RefinedSegmenter
from promptseg.ops.resize import resize_map
from promptseg.prompts import Prompt
from promptseg.results import QueryResult
from promptseg.segmenter import Features, Prediction, single_texts

ANN, BOB, CAT = rectangle(8, 8, 40, 80), rectangle(40, 8, 72, 80), rectangle(96, 40, 124, 80)
IMAGE = np.zeros((*SIZE_HW, 3), dtype=np.uint8)
IMAGE[BOB] = (250, 20, 20)
NAMES = ("person", "cat")


class DetectedTexts:
    """Marks everybody for every text but cats, and has detected each of them."""

    prompt_kinds = frozenset({"text"})
    mask_threshold = 0.7
    presence_threshold = 0.5

    def __init__(self, *, detects: bool = True) -> None:
        self.detects = detects

    def encode_image(self, image_rgb: np.ndarray) -> Features:
        size = np.array([SIZE_HW[1], SIZE_HW[0]] * 2)
        boxes = np.array([(8, 8, 40, 80), (40, 8, 72, 80), (96, 40, 124, 80)]) / size
        scores = [(0.8, 0.0), (0.7, 0.0), (0.1, 0.6)]
        found = torch.from_numpy(np.concatenate([boxes, scores], axis=1)).float()[None]
        return {"detections": found} if self.detects else {"nothing": torch.zeros(1, 1)}

    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        maps = [CAT if text.endswith("cat") else ANN | BOB for text in single_texts(queries)]
        drawn = np.stack(maps) if maps else np.zeros((0, *SIZE_HW), dtype=np.bool_)
        cells = torch.from_numpy(drawn[:, 2::4, 2::4]).float()
        sure = torch.full((len(queries),), 0.9)
        return Prediction(cells.clamp(0.02, 0.98).logit(), sure, sure)


def answer(*prompts: Prompt, detects: bool = True) -> QueryResult:
    masker = DrawnMasker([ANN, BOB, CAT, ANN | BOB])
    segmenter = RefinedSegmenter(DetectedTexts(detects=detects), masker, NAMES)
    found = segmenter.segment(segmenter.encode_image(IMAGE), [Query("it", prompts)], SIZE_HW)
    instances = None if found.instances is None else found.instances[0]
    mask_logits = found.mask_logits.numpy()[0]
    return QueryResult("it", float(found.presence[0]), mask_logits, SIZE_HW, 0.5, 0.7, instances)


@pytest.mark.parametrize("text", ["person", "the people"])
def test_what_is_detected_of_a_sure_name_is_its_mask(text: str) -> None:
    found = answer(TextPrompt(text))
    assert [each.score for each in found.instances] == pytest.approx([0.8, 0.7])
    ann, bob = (each.mask for each in found.instances)
    assert same(ann, ANN)
    assert same(bob, BOB)
    assert not (ann & bob).any()
    assert same(found.mask, ANN | BOB)
    (cat,) = answer(TextPrompt("cat")).instances
    assert same(cat.mask, CAT)
    assert cat.score == pytest.approx(0.6)


@pytest.mark.parametrize("text", ["women", "tall people"])
def test_people_who_touch_are_two(text: str) -> None:
    found, before = answer(TextPrompt(text)), answer(TextPrompt(text), detects=False)
    assert len(before.instances) == 1
    ann, bob = sorted((each.mask for each in found.instances), key=lambda mask: int(np.flatnonzero(mask.any(0))[0]))
    assert same(ann, ANN)
    assert same(bob, BOB)
    assert not (ann & bob).any()
    np.testing.assert_array_equal(found.mask, before.mask)
    np.testing.assert_array_equal(found.mask_logits, before.mask_logits)


@pytest.mark.parametrize("text", ["black cat", "grass"])
def test_what_does_not_touch_its_like_stays_as_it_was(text: str) -> None:
    found, before = answer(TextPrompt(text)), answer(TextPrompt(text), detects=False)
    assert found.found is None
    np.testing.assert_array_equal(found.mask, before.mask)


@pytest.mark.parametrize(
    ("text", "who"),
    [
        ("the leftmost person", ANN),
        ("the second person from the left", BOB),
        ("the person in red", BOB),
        ("the person not in a red shirt", ANN),
        ("the person to the right of the cat", BOB),
    ],
)
def test_a_referring_phrase_gets_one(text: str, who: Mask) -> None:
    found = answer(TextPrompt(text))
    assert same(found.mask, who)
    assert len(found.instances) == 1
    assert found.presence == pytest.approx(0.9)


def test_without_detections_all_of_the_name_are_meant() -> None:
    assert same(answer(TextPrompt("the leftmost person"), detects=False).mask, ANN | BOB)


def test_parts_of_the_mask_stand_for_things_that_the_detector_does_not_know() -> None:
    assert same(answer(TextPrompt("the leftmost flower")).mask, ANN | BOB)


def test_clicks_choose_instead() -> None:
    point = PointPrompt(((100.0, 60.0),))
    found = answer(TextPrompt("the leftmost person"), point)
    assert found.mask[60, 100]


def test_a_pixel_goes_to_the_thing_that_claims_it_most() -> None:
    generator = np.random.default_rng(0)
    things = [torch.from_numpy(generator.normal(-1.0, 1.0, (12, 16)).astype(np.float32)) for _ in range(3)]
    for thing, rectangle_yx in zip(things, ((1, 2), (3, 6), (7, 1)), strict=True):
        y, x = rectangle_yx
        thing[y : y + 5, x : x + 8] += 4.0
    found = share_out(things, (0.9, 0.3, 0.6), (50, 70))
    assert [each.score for each in found] == [0.9, 0.6, 0.3]
    claims = np.stack([resize_map(thing.numpy(), (50, 70)) for thing in things])
    owner = np.where(claims.max(0) > 0, claims.argmax(0), -1)
    for each, index in zip(found, (0, 2, 1), strict=True):
        np.testing.assert_array_equal(each.mask, owner == index)
    again = share_out([*things, things[0] + 0.1], (0.9, 0.3, 0.6, 0.2), (50, 70))
    assert [each.score for each in again] == [0.9, 0.6, 0.3], "the same thing is not found twice"
    assert share_out([torch.full((12, 16), -1.0)], (0.9,), (50, 70)) == ()


def test_what_nobody_covers_is_a_thing_of_its_own_or_goes_to_a_neighbor() -> None:
    whole = torch.from_numpy(rectangle(8, 8, 104, 80)[2::4, 2::4]).float() * 12 - 6
    things = [torch.from_numpy(one[2::4, 2::4]).float() * 12 - 6 for one in (ANN, BOB, BOB)]
    found = split_mask(whole, things, SIZE_HW, edge=0.0, presence=0.5)
    assert len(found) == 3
    assert same(np.any([each.mask for each in found], axis=0), rectangle(8, 8, 104, 80))
    narrow = torch.from_numpy(rectangle(8, 8, 80, 80)[2::4, 2::4]).float() * 12 - 6
    found = split_mask(narrow, things, SIZE_HW, edge=0.0, presence=0.5)
    assert len(found) == 2
    assert same(np.any([each.mask for each in found], axis=0), rectangle(8, 8, 80, 80))
    assert all(0 <= each.score <= 0.5 for each in found)


def test_boxes_that_share_a_part_are_found() -> None:
    coarse = torch.from_numpy((ANN | BOB | CAT)[2::4, 2::4]).float() - 0.5
    boxes = np.array([(40, 8, 72, 80), (96, 40, 124, 80), (8, 8, 40, 80), (0, 84, 128, 96)]) / np.tile((128, 96), 2)
    assert find_touching(coarse, Boxes(boxes, np.array([0.9, 0.8, 0.7, 0.6]))) == [0, 2]
    assert find_touching(coarse - 1, Boxes(boxes, np.ones(4))) == []
    assert find_touching(coarse, Boxes(np.zeros((0, 4)), np.zeros(0))) == []


def test_towers_give_out_what_they_detect() -> None:
    torch.manual_seed(0)
    tower, other, pixels = YoloxNano().eval(), TinyConv((8, 16)), torch.randn(2, 3, 96, 128)
    other.mean, other.std = tower.mean, tower.std  # a pair takes the same pixels
    assert tower.detected_names == COCO_THINGS
    with torch.no_grad():
        maps, detections = tower.detect(pixels)
        plain = tower(pixels)
        paired_maps, passed_on = PairedTower(other, tower).eval().detect(pixels)
    for one, same_one in zip(maps, plain, strict=True):
        torch.testing.assert_close(one, same_one)
    num_cells = 96 * 128 // 64 + 96 * 128 // 256 + 96 * 128 // 1024
    assert detections.shape == (2, min(NUM_DETECTED, num_cells), 84)
    best = detections[..., 4:].amax(dim=2)
    assert bool((best.diff(dim=1) <= 0).all())
    assert bool((detections[..., 2:4] > detections[..., :2]).all())
    assert passed_on is not None
    torch.testing.assert_close(passed_on, detections)
    assert len(paired_maps) == len(maps) + 2
    assert TinyConv((8,)).detect(pixels)[1] is None

"""Detections are the mask of their name or divide it; a referring expression gets one of them."""

import numpy as np
import pytest
import torch
from drawn_coarse import DrawnCoarse
from drawn_masker import SIZE_HW, DrawnMasker, Mask, rectangle, same
from numpy.typing import NDArray

from promptseg import PointPrompt, Query, TextPrompt
from promptseg.detectors.box_selection import Boxes
from promptseg.encoders.paired import PairedTower
from promptseg.encoders.tiny import TinyConv
from promptseg.encoders.yolox import NUM_DETECTED, YoloxNano
from promptseg.language.class_names import COCO_THINGS
from promptseg.models.promptseg.instance_separation import find_touching, segment_boxes, separate_touching
from promptseg.models.promptseg.pipeline import PromptSegPipeline
from promptseg.models.promptseg.settings import SeparationSettings
from promptseg.ops.resize import resize_map
from promptseg.prompts import Prompt
from promptseg.results import QueryResult

ANN, BOB, CAT = rectangle(8, 8, 40, 80), rectangle(40, 8, 72, 80), rectangle(96, 40, 124, 80)
IMAGE = np.zeros((*SIZE_HW, 3), dtype=np.uint8)
IMAGE[BOB] = (250, 20, 20)
NAMES = ("person", "cat")


BOXES = np.array([(8, 8, 40, 80), (40, 8, 72, 80), (96, 40, 124, 80)]) / np.tile(SIZE_HW[::-1], 2)
DETECTIONS = np.concatenate([BOXES, [(0.8, 0.0), (0.7, 0.0), (0.1, 0.6)]], axis=1).astype(np.float32)
SETTINGS = SeparationSettings()


def answer(
    *prompts: Prompt, detects: bool = True, names: tuple[str, str] = NAMES, sureness: float = 1.0
) -> QueryResult:
    """Both persons are one region of the coarse mask of every phrase but the cat's; each of the three is detected.

    The detections' scores are multiplied by `sureness`.
    """
    coarse = DrawnCoarse(
        lambda text: CAT if text.endswith("cat") else ANN | BOB,
        detector_names=names,
        detections=DETECTIONS * np.float32([1, 1, 1, 1, sureness, sureness]) if detects else None,
    )
    segmenter = PromptSegPipeline(coarse, DrawnMasker([ANN, BOB, CAT, ANN | BOB]))  # type: ignore[arg-type]
    found = segmenter.segment(segmenter.encode_image(IMAGE), [Query("it", prompts)])
    instances = None if found.instances is None else found.instances[0]
    return QueryResult("it", float(found.presence[0]), found.mask_logits[0], SIZE_HW, 0.5, 0.7, instances)


def map_of(mask: Mask) -> NDArray[np.float32]:
    """A map at a quarter of the resolution."""
    return (mask[2::4, 2::4] * 12 - 6).astype(np.float32)


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


def test_doubtful_detections_of_a_name_count_where_its_map_agrees() -> None:
    names = ("cat", "person")  # the two left boxes are detected as cats, and the map of a cat is elsewhere
    assert same(answer(TextPrompt("cat"), names=names).mask, ANN | BOB)
    doubtful = answer(TextPrompt("cat"), names=names, sureness=0.35)
    assert same(doubtful.mask, CAT) and doubtful.model_instances is None
    people = answer(TextPrompt("people"), sureness=0.35)
    assert [each.score for each in people.instances] == pytest.approx([0.28, 0.245])


@pytest.mark.parametrize("text", ["tall people", "chefs", "people in white"])
def test_a_kind_of_what_is_detected_is_the_detections_that_its_map_fills(text: str) -> None:
    found = answer(TextPrompt(text))
    ann, bob = found.instances
    assert same(ann.mask, ANN) and same(bob.mask, BOB)
    assert [each.score for each in found.instances] == pytest.approx([0.8, 0.7])
    assert same(found.mask, ANN | BOB)


def test_a_detection_of_the_class_that_the_map_does_not_fill_is_not_of_the_kind() -> None:
    names = ("cat", "person")  # the two left boxes are detected as cats, and the map of a black cat is elsewhere
    found = answer(TextPrompt("black cat"), names=names)
    assert same(found.mask, CAT)
    assert found.model_instances is None


@pytest.mark.parametrize("text", ["animals", "pets"])
def test_objects_of_a_broad_name_that_touch_are_two_instances(text: str) -> None:
    names = ("dog", "cat")
    found, before = answer(TextPrompt(text), names=names), answer(TextPrompt(text), detects=False, names=names)
    assert len(before.instances) == 1
    ann, bob = sorted((each.mask for each in found.instances), key=lambda mask: int(np.flatnonzero(mask.any(0))[0]))
    assert same(ann, ANN)
    assert same(bob, BOB)
    assert not (ann & bob).any()
    np.testing.assert_array_equal(found.mask, before.mask)
    np.testing.assert_array_equal(found.mask_logits, before.mask_logits)


@pytest.mark.parametrize("text", ["thing", "grass"])
def test_an_instance_that_touches_none_stays_as_it_was(text: str) -> None:
    found, before = answer(TextPrompt(text)), answer(TextPrompt(text), detects=False)
    assert found.model_instances is None
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


def test_regions_of_the_mask_are_candidates_where_the_detector_has_no_class() -> None:
    assert same(answer(TextPrompt("the leftmost flower")).mask, ANN | BOB)


def test_clicks_choose_instead() -> None:
    point = PointPrompt(((100.0, 60.0),))
    found = answer(TextPrompt("the leftmost person"), point)
    assert found.mask[60, 100]


def test_a_pixel_goes_to_the_instance_with_the_highest_logit() -> None:
    generator = np.random.default_rng(0)
    maps = [generator.normal(-1.0, 1.0, (12, 16)).astype(np.float32) for _ in range(3)]
    for each, (y, x) in zip(maps, ((1, 2), (3, 6), (7, 1)), strict=True):
        each[y : y + 5, x : x + 8] += 4.0
    found = segment_boxes(maps, (0.9, 0.3, 0.6), (0.5, 0.7, 0.8), (50, 70), SETTINGS)
    assert [(each.score, each.mask_quality) for each in found] == [(0.9, 0.5), (0.6, 0.8), (0.3, 0.7)]
    claims = np.stack([resize_map(each, (50, 70)) for each in maps])
    owner = np.where(claims.max(0) > 0, claims.argmax(0), -1)
    for each, index in zip(found, (0, 2, 1), strict=True):
        np.testing.assert_array_equal(each.mask, owner == index)
    again = segment_boxes([*maps, maps[0] + 0.1], (0.9, 0.3, 0.6, 0.2), (0.5,) * 4, (50, 70), SETTINGS)
    assert [each.score for each in again] == [0.9, 0.6, 0.3], "the same instance is not found twice"
    assert segment_boxes([np.full((12, 16), -1.0, np.float32)], (0.9,), (0.5,), (50, 70), SETTINGS) == ()


@pytest.mark.parametrize(
    ("right", "num_instances"), [(104, 3), (80, 2)], ids=["large: an instance of its own", "small: to the neighbor"]
)
def test_what_no_instance_covers(right: int, num_instances: int) -> None:
    whole = rectangle(8, 8, right, 80)
    maps = [map_of(one) for one in (ANN, BOB, BOB)]
    found = separate_touching(map_of(whole), maps, SIZE_HW, edge=0.0, presence=0.5, settings=SETTINGS)
    assert len(found) == num_instances
    assert same(np.any([each.mask for each in found], axis=0), whole)
    assert all(0 <= each.score <= 0.5 for each in found)


def test_boxes_that_share_a_region_are_found() -> None:
    coarse = (ANN | BOB | CAT)[2::4, 2::4].astype(np.float32) - np.float32(0.5)
    boxes = np.array([(40, 8, 72, 80), (96, 40, 124, 80), (8, 8, 40, 80), (0, 84, 128, 96)]) / np.tile((128, 96), 2)
    assert find_touching(coarse, Boxes(boxes, np.array([0.9, 0.8, 0.7, 0.6])), SETTINGS) == [0, 2]
    assert find_touching(coarse - 1, Boxes(boxes, np.ones(4)), SETTINGS) == []
    assert find_touching(coarse, Boxes(np.zeros((0, 4)), np.zeros(0)), SETTINGS) == []


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

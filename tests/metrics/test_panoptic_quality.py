"""Panoptic quality against an independent implementation, which also reads what the coco-panoptic format writes."""

import json
from pathlib import Path

import numpy as np
import pytest
from hotcoco.panoptic import pq_compute
from random_maps import CLASSES, as_panoptic, disturb, draw_map

from promptseg.formats.dataset_writer import DatasetWriter
from promptseg.metrics import SegmentCounts, class_qualities, count_segments, mean_true_class_iou
from promptseg.results.panoptic import Panoptic

LABELS = [one.label for one in CLASSES]
STUFF = [one.label for one in CLASSES if not one.is_thing]


def write_maps(directory: Path, maps: list[Panoptic]) -> Path:
    with DatasetWriter(directory, format="coco-panoptic", classes=LABELS, stuff=STUFF) as writer:
        for number, found in enumerate(maps):
            writer.add(f"{number:03d}.png", found.to_segmentation())
    return directory / "annotations" / "panoptic.json"


def classes_of(found: Panoptic) -> dict[int, int]:
    return {segment.id: LABELS.index(segment.label) for segment in found.segments}


def make_crowd(index: Path, crowds: dict[int, int]) -> None:
    """Mark a segment of some images as a crowd in the JSON: image id to segment id."""
    document = json.loads(index.read_text())
    for each in document["annotations"]:
        for info in each["segments_info"]:
            info["iscrowd"] = int(info["id"] == crowds.get(each["image_id"]))
    index.write_text(json.dumps(document))


def test_counts_agree_with_another_scorer_on_the_files_that_are_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    truths = [draw_map(rng) for _ in range(24)]
    found = [disturb(truth, rng) for truth in truths]
    true_index, found_index = write_maps(tmp_path / "true", truths), write_maps(tmp_path / "found", found)
    # The files number the segments in the order of the classes, a map by area: a crowd is found by its class and area.
    crowds: dict[int, int] = {}
    crowd_ids: list[set[int]] = []
    document = json.loads(true_index.read_text())
    for each, truth in zip(document["annotations"], truths, strict=True):
        things = [info for info in each["segments_info"] if info["category_id"] in (2, 3)]
        crowds[each["image_id"]] = things[0]["id"]
        area, label = things[0]["area"], LABELS[things[0]["category_id"] - 1]
        same = [segment.id for segment in truth.segments if (segment.area, segment.label) == (area, label)]
        crowd_ids.append(set(same[:1]))
    make_crowd(true_index, crowds)
    theirs = pq_compute(
        str(true_index), str(found_index), str(tmp_path / "true" / "panoptic"), str(tmp_path / "found" / "panoptic")
    )

    totals = np.zeros((len(LABELS), 4))
    for truth, one, crowd in zip(truths, found, crowd_ids, strict=True):
        counts = count_segments(one.segment_ids, classes_of(one), truth.segment_ids, classes_of(truth), crowd_ids=crowd)
        for class_index, row in counts.items():
            totals[class_index] += (row.matched, row.spurious, row.missed, row.iou_sum)
    qualities = np.stack(class_qualities(*totals.T))
    assert totals[:, 0].sum() > 30 and totals[:, 1].sum() > 15 and totals[:, 2].sum() > 15
    is_thing = np.array([one.is_thing for one in CLASSES])
    for group, members in (("All", np.ones(len(CLASSES), bool)), ("Things", is_thing), ("Stuff", ~is_thing)):
        means = np.nanmean(qualities[:, members], axis=1)
        expected = [theirs[group][name] for name in ("pq", "sq", "rq")]
        np.testing.assert_allclose(means, expected, atol=1e-9)


def test_a_perfect_map_is_1_and_an_empty_one_0() -> None:
    truth = draw_map(np.random.default_rng(1))
    counts = count_segments(truth.segment_ids, classes_of(truth), truth.segment_ids, classes_of(truth))
    assert all((row.spurious, row.missed) == (0, 0) and row.iou_sum == row.matched for row in counts.values())
    empty = as_panoptic(np.zeros_like(truth.segment_ids), [])
    counts = count_segments(empty.segment_ids, {}, truth.segment_ids, classes_of(truth))
    assert sum(row.missed for row in counts.values()) == len(truth.segments)


def test_what_lies_on_unknown_pixels_is_no_error() -> None:
    found, truth = np.ones((4, 10), np.int32), np.zeros((4, 10), np.int32)
    truth[:, :4] = 1
    assert count_segments(found, {1: 5}, truth, {1: 3}) == {3: SegmentCounts(missed=1)}
    truth[:, :6] = 1
    assert count_segments(found, {1: 5}, truth, {1: 3}) == {3: SegmentCounts(missed=1), 5: SegmentCounts(spurious=1)}
    assert count_segments(found, {1: 3}, truth, {1: 3})[3].iou_sum == 1, "the union leaves unknown pixels out"


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"the prediction is \(2, 3\), the truth \(3, 2\)"):
        count_segments(np.zeros((2, 3), int), {}, np.zeros((3, 2), int), {})


def test_miou_leaves_out_classes_that_are_never_true() -> None:
    """Against a literal reading: a confusion of all pixels, class by class."""
    rng = np.random.default_rng(5)
    truth, found = rng.integers(0, 4, (6, 20)), rng.integers(0, 6, (6, 20))
    pairs = [(image, name) for image in range(6) for name in range(6)]
    shared = np.array([((truth[i] == c) & (found[i] == c)).sum() for i, c in pairs], float)
    union = np.array([((truth[i] == c) | (found[i] == c)).sum() for i, c in pairs], float)
    actual = np.array([(truth[i] == c).sum() for i, c in pairs], float)
    index = np.array([c for _, c in pairs])
    ious = []
    for name in range(6):
        hit = sum(t == f == name for t, f in zip(truth.ravel(), found.ravel(), strict=True))
        either = sum(name in (t, f) for t, f in zip(truth.ravel(), found.ravel(), strict=True))
        if name in truth:
            ious.append(hit / either)
    value = mean_true_class_iou(shared, union, actual, index, np.ones((1, len(pairs))))
    np.testing.assert_allclose(value, [np.mean(ious)])
    assert len(ious) == 4

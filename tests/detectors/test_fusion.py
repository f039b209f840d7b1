"""Detections of two detectors, joined."""

import numpy as np
import pytest
from numpy.typing import NDArray

from promptseg.detectors.box_selection import select_boxes
from promptseg.detectors.fusion import NUM_FUSED, fuse_detections

LEFT, RIGHT = (0.1, 0.1, 0.4, 0.5), (0.6, 0.1, 0.9, 0.5)


def rows(*boxes: tuple[tuple[float, float, float, float], dict[int, float]]) -> NDArray[np.float32]:
    """Detections of three names."""
    found = np.zeros((len(boxes), 7), dtype=np.float32)
    for row, (box_xyxy, scores) in zip(found, boxes, strict=True):
        row[:4] = box_xyxy
        for name, score in scores.items():
            row[4 + name] = score
    return found


def test_what_both_see_keeps_its_score_and_what_one_sees_has_half() -> None:
    shifted = (0.11, 0.1, 0.41, 0.5)
    first = rows((LEFT, {0: 0.8}), (RIGHT, {1: 0.6}), (LEFT, {0: 0.4}))
    second = rows((shifted, {0: 0.4}), (RIGHT, {2: 0.3}))
    fused = fuse_detections(first, second)
    assert fused.shape == (3, 7)
    np.testing.assert_allclose(fused[:, 4:].sum(axis=1), [0.6, 0.3, 0.15], atol=1e-6)
    assert fused[:, 4:].argmax(axis=1).tolist() == [0, 1, 2]
    # the mean of all boxes of the object, by their scores
    np.testing.assert_allclose(fused[0, :4], (0.1025, 0.1, 0.4025, 0.5), atol=1e-6)


def test_names_are_joined_apart() -> None:
    """One box with two likely names makes two detections; a choice among both names drops the less sure."""
    fused = fuse_detections(rows((LEFT, {0: 0.8, 1: 0.5})), rows((LEFT, {1: 0.6})))
    np.testing.assert_allclose(sorted(fused[:, 4:].max(axis=1)), [0.4, 0.55], atol=1e-6)
    chosen = select_boxes(fused, [0, 1], min_score=0.15)
    assert chosen.scores.tolist() == pytest.approx([0.55])


def test_objects_side_by_side_stay_two() -> None:
    fused = fuse_detections(rows((LEFT, {0: 0.9}), (RIGHT, {0: 0.9})), rows((RIGHT, {0: 0.7})))
    np.testing.assert_allclose(fused[:, 4], [0.8, 0.45], atol=1e-6)
    np.testing.assert_allclose(fused[:, :4], [RIGHT, LEFT], atol=1e-6)


def test_nothing_and_too_much() -> None:
    nothing = np.zeros((0, 7), dtype=np.float32)
    assert fuse_detections(nothing, nothing).shape == (0, 7)
    assert fuse_detections(nothing, rows((LEFT, {0: 0.019}))).shape == (0, 7)
    rng = np.random.default_rng(0)
    corners = rng.random((2000, 2, 2)).astype(np.float32)
    many = np.concatenate([corners.min(axis=1), corners.max(axis=1), rng.random((2000, 3))], axis=1, dtype=np.float32)
    fused = fuse_detections(many[:1000], many[1000:])
    assert len(fused) == NUM_FUSED and fused.dtype == np.float32
    assert np.all(np.diff(fused[:, 4:].max(axis=1)) <= 0)
    assert fused[:, :4].min() >= 0 and fused[:, :4].max() <= 1


def test_a_box_without_an_area_stays_alone() -> None:
    point = (0.3, 0.3, 0.3, 0.3)
    fused = fuse_detections(rows((point, {0: 0.5}), (point, {0: 0.4})), rows((point, {0: 0.3})))
    np.testing.assert_allclose(fused[:, 4], [0.25, 0.2, 0.15], atol=1e-6)
    fused = fuse_detections(rows((point, {0: 0.9})), rows((LEFT, {0: 0.3})))  # and is inside nothing
    np.testing.assert_allclose(fused[:, 4], [0.45, 0.15], atol=1e-6)


def test_a_doubtful_box_around_a_sure_one_is_dropped() -> None:
    around, wide = (0.05, 0.05, 0.5, 0.6), (0.0, 0.0, 1.0, 1.0)
    first = rows((LEFT, {0: 0.8}), (wide, {0: 0.5}), (RIGHT, {1: 0.8}))
    fused = fuse_detections(first, rows((LEFT, {0: 0.8}), (around, {0: 0.3}), (wide, {0: 0.4})))
    # the box around both sides has more than half of the score; that of another name encloses nothing of its own
    np.testing.assert_allclose(fused[:, 4:].max(axis=1), [0.8, 0.45, 0.4], atol=1e-6)
    fused = fuse_detections(rows((LEFT, {0: 0.8}), (wide, {0: 0.3})), rows((LEFT, {0: 0.8}), (around, {1: 0.3})))
    assert fused[:, 4:].argmax(axis=1).tolist() == [0, 1]

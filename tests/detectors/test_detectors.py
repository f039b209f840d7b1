"""What all detectors share, a segmenter as one, and finding one by name or path."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from painted_world import Painted, PaintedImage

from promptseg.detectors.base import MAX_BOXES, PhraseBoxes, Thresholds, collect, corners, suppress_per_phrase
from promptseg.detectors.load import load_detector
from promptseg.detectors.segmenter_detector import SegmenterDetector
from promptseg.errors import CheckpointError, PromptError, UnknownModelError


def test_boxes_are_cut_at_the_border_sorted_and_dropped_without_a_pixel() -> None:
    boxes = np.array([[-5.0, 2, 20, 30], [50, 10, 50.5, 40], [10, 10, 300, 300], [200, 0, 210, 10]])
    found = collect(boxes, np.array([0.2, 0.9, 0.7, 0.8]), np.array([0, 0, 1, 1]), np.zeros(2), (60, 100))
    assert found.boxes_xyxy.tolist() == [[10, 10, 100, 60], [0, 2, 20, 30]]
    assert found.scores.tolist() == pytest.approx([0.7, 0.2])
    assert found.phrase_index.tolist() == [1, 0]


def test_there_is_a_most() -> None:
    boxes = np.array([[0.0, 0, 5, 5]]).repeat(MAX_BOXES + 50, axis=0)
    scores = np.linspace(0, 1, MAX_BOXES + 50, dtype=np.float32)
    found = collect(boxes, scores, np.zeros(len(boxes), dtype=np.int64), np.zeros(1), (10, 10))
    assert found.scores.tolist() == scores[::-1][:MAX_BOXES].tolist()


def test_only_boxes_of_one_phrase_suppress_each_other() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [-7, 0, 3, 10]])
    scores = np.array([0.5, 0.9, 0.3, 0.8])
    phrases = np.array([0, 0, 1, 0])
    assert suppress_per_phrase(boxes, scores, phrases, 0.5).tolist() == [1, 3, 2]
    nothing = np.zeros(0)
    assert suppress_per_phrase(nothing.reshape(0, 4), nothing, nothing.astype(int), 0.5).tolist() == []


def test_corners_of_centers_and_sizes() -> None:
    assert corners(np.array([[5.0, 10, 4, 6]], np.float32)).tolist() == [[3, 7, 7, 13]]


@pytest.mark.parametrize("options", [{"box": 1.2}, {"box": -0.1}, {"box": 0.3, "text": float("nan")}])
def test_a_threshold_is_a_score(options: dict[str, float]) -> None:
    with pytest.raises(PromptError, match=r"threshold is a number in \[0, 1\]"):
        Thresholds(**options)


class TestSegmenterAsDetector:
    IMAGE = np.zeros((100, 400, 3), dtype=np.uint8)

    @pytest.fixture
    def detector(self) -> SegmenterDetector:
        return SegmenterDetector(Painted())

    def test_every_object_is_a_box_of_its_phrase(self, detector: SegmenterDetector) -> None:
        encoded = detector.encode_image(self.IMAGE)
        found = detector.detect(encoded, ["nothing", "squares", "square"], Thresholds(0.1))
        assert found.phrase_index.tolist() == [1, 1, 2]
        assert found.boxes_xyxy.tolist() == [[240, 60, 360, 90], [40, 10, 120, 40], [0, 0, 400, 100]]
        np.testing.assert_allclose(found.scores, 1 / (1 + np.exp([-4.0, -2, -1])) * [0.9, 0.9, 0.8], rtol=1e-6)
        np.testing.assert_allclose(found.peaks, [0.1, 0.9, 0.8], rtol=1e-6)

    def test_a_threshold_drops_boxes_and_keeps_peaks(self, detector: SegmenterDetector) -> None:
        encoded = detector.encode_image(self.IMAGE)
        found = detector.detect(encoded, ["squares"], Thresholds(0.85))
        assert found.boxes_xyxy.tolist() == [[240, 60, 360, 90]]
        none = detector.detect(encoded, ["squares"], Thresholds(1.0))
        assert none.boxes_xyxy.shape == (0, 4) and none.scores.shape == none.phrase_index.shape == (0,)
        np.testing.assert_allclose(none.peaks, [0.9], rtol=1e-6)

    def test_the_least_score_is_that_of_a_mask_that_is_present(self, detector: SegmenterDetector) -> None:
        assert detector.thresholds.box == pytest.approx(0.5 * 0.6)
        found = detector.detect(detector.encode_image(self.IMAGE), ["squares", "nothing"])
        assert found.phrase_index.tolist() == [0, 0]

    def test_a_phrase_does_not_depend_on_its_neighbors(self, detector: SegmenterDetector) -> None:
        encoded = detector.encode_image(self.IMAGE)
        alone = detector.detect(encoded, ["squares"], Thresholds(0.0))
        together = detector.detect(encoded, ["square", "squares", "nothing"], Thresholds(0.0))
        mine = together.phrase_index == 1
        np.testing.assert_array_equal(together.boxes_xyxy[mine], alone.boxes_xyxy)
        np.testing.assert_array_equal(together.scores[mine], alone.scores)


class Boxed(Painted):
    """A segmenter that finds boxes by itself: one wide square, of any phrase but "nothing"."""

    def find_boxes(self, image: PaintedImage, phrases: Sequence[str]) -> list[PhraseBoxes]:
        none = PhraseBoxes(np.zeros((0, 4)), np.zeros(0), 0.2)
        found = PhraseBoxes(np.array([[-3.0, 10, 90, 70], [5, 5, 50, 50]]), np.array([0.02, 0.7]), 0.7)
        return [none if phrase == "nothing" else found for phrase in phrases]


class TestBoxFinder:
    IMAGE = np.zeros((100, 400, 3), dtype=np.uint8)

    def test_its_boxes_and_scores_are_taken_as_they_are(self) -> None:
        detector = SegmenterDetector(Boxed())
        found = detector.detect(detector.encode_image(self.IMAGE), ["nothing", "squares"])
        assert found.boxes_xyxy.tolist() == [[5, 5, 50, 50], [0, 10, 90, 70]]
        assert found.scores.tolist() == pytest.approx([0.7, 0.02])
        assert found.phrase_index.tolist() == [1, 1]
        assert found.peaks.tolist() == pytest.approx([0.2, 0.7])

    def test_a_box_threshold_holds_for_them_too(self) -> None:
        detector = SegmenterDetector(Boxed())
        found = detector.detect(detector.encode_image(self.IMAGE), ["squares"], Thresholds(0.5))
        assert found.scores.tolist() == pytest.approx([0.7])


class TestByName:
    def test_an_unknown_one_is_named(self) -> None:
        with pytest.raises(
            UnknownModelError, match=r"no detector 'dino9'; there are grounding-dino-tiny, .*give a path"
        ):
            load_detector("dino9")

    def test_a_directory_of_something_else(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"can't read its config\.json"):
            load_detector(tmp_path)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
        with pytest.raises(CheckpointError, match="holds a 'bert'; detectors are grounding-dino and owlv2"):
            load_detector(tmp_path)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "owlv2"}))
        with pytest.raises(CheckpointError, match="no OWLv2 for transformers"):
            load_detector(tmp_path)

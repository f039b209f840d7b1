"""What all detectors share, a segmenter as one, and finding one by name or path."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from painted_world import Painted

from promptseg.detectors.base import MAX_BOXES, Detections, Thresholds, collect, corners, suppress_per_phrase
from promptseg.detectors.load import load_detector
from promptseg.errors import CheckpointError, PromptError, UnknownModelError
from promptseg.models.grounded_sam.segmenter_detector import MIN_DETECTED, SegmenterDetector
from promptseg.models.registry import load_model
from promptseg.segmenter import Features, Segmenter

CPU = torch.device("cpu")


def same(one: Detections, other: Detections) -> bool:
    return all(torch.equal(value, getattr(other, name)) for name, value in vars(one).items())


def test_boxes_are_cut_at_the_border_sorted_and_dropped_without_a_pixel() -> None:
    boxes = torch.tensor([[-5.0, 2, 20, 30], [50, 10, 50.5, 40], [10, 10, 300, 300], [200, 0, 210, 10]])
    found = collect(boxes, torch.tensor([0.2, 0.9, 0.7, 0.8]), torch.tensor([0, 0, 1, 1]), torch.zeros(2), (60, 100))
    assert found.boxes_xyxy.tolist() == [[10, 10, 100, 60], [0, 2, 20, 30]]
    assert found.scores.tolist() == pytest.approx([0.7, 0.2])
    assert found.phrase_index.tolist() == [1, 0]


def test_there_is_a_most() -> None:
    boxes = torch.tensor([[0.0, 0, 5, 5]]).repeat(MAX_BOXES + 50, 1)
    scores = torch.linspace(0, 1, MAX_BOXES + 50)
    found = collect(boxes, scores, torch.zeros(len(boxes), dtype=torch.int64), torch.zeros(1), (10, 10))
    assert found.scores.tolist() == scores.flip(0)[:MAX_BOXES].tolist()


def test_only_boxes_of_one_phrase_push_each_other_out() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [-7, 0, 3, 10]])
    scores = torch.tensor([0.5, 0.9, 0.3, 0.8])
    phrases = torch.tensor([0, 0, 1, 0])
    assert suppress_per_phrase(boxes, scores, phrases, 0.5).tolist() == [1, 3, 2]
    nothing = torch.zeros(0)
    assert suppress_per_phrase(nothing.reshape(0, 4), nothing, nothing.long(), 0.5).tolist() == []


def test_corners_of_centers_and_sizes() -> None:
    assert corners(torch.tensor([[5.0, 10, 4, 6]])).tolist() == [[3, 7, 7, 13]]


@pytest.mark.parametrize("options", [{"box": 1.2}, {"box": -0.1}, {"box": 0.3, "text": float("nan")}])
def test_a_threshold_is_a_score(options: dict[str, float]) -> None:
    with pytest.raises(PromptError, match=r"threshold is a score in \[0, 1\]"):
        Thresholds(**options)


class TestSegmenterAsDetector:
    @pytest.fixture
    def detector(self) -> SegmenterDetector:
        return SegmenterDetector(Painted())

    @pytest.fixture
    def features(self, detector: SegmenterDetector) -> Features:
        return detector.encode_image(np.zeros((100, 400, 3), dtype=np.uint8))

    def test_every_object_is_a_box_of_its_phrase(self, detector: SegmenterDetector, features: Features) -> None:
        found = detector.detect(features, ["nothing", "squares", "square"], (100, 400), Thresholds(0.1))
        assert found.phrase_index.tolist() == [1, 1, 2]
        assert found.boxes_xyxy.tolist() == [[240, 60, 360, 90], [40, 10, 120, 40], [0, 0, 400, 100]]
        sure = torch.tensor([4.0, 2.0, 1.0]).sigmoid() * torch.tensor([0.9, 0.9, 0.8])
        torch.testing.assert_close(found.scores, sure)
        torch.testing.assert_close(found.peaks, torch.tensor([0.1, 0.9, 0.8]))

    def test_a_threshold_drops_boxes_and_keeps_peaks(self, detector: SegmenterDetector, features: Features) -> None:
        found = detector.detect(features, ["squares"], (100, 400), Thresholds(0.85))
        assert found.boxes_xyxy.tolist() == [[240, 60, 360, 90]]
        none = detector.detect(features, ["squares"], (100, 400), Thresholds(1.0))
        assert none.boxes_xyxy.shape == (0, 4) and none.scores.shape == none.phrase_index.shape == (0,)
        torch.testing.assert_close(none.peaks, torch.tensor([0.9]))

    def test_a_phrase_does_not_depend_on_its_neighbors(self) -> None:
        segmenter: Segmenter = load_model("promptseg-test")
        detector = SegmenterDetector(segmenter)
        image = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        features = detector.encode_image(image)
        alone = detector.detect(features, ["cat"], (60, 90), Thresholds(0.0))
        together = detector.detect(features, ["grass", "cat"], (60, 90), Thresholds(0.0))
        mine = together.phrase_index == 1
        torch.testing.assert_close(together.boxes_xyxy[mine], alone.boxes_xyxy)
        torch.testing.assert_close(together.scores[mine], alone.scores, rtol=1e-4, atol=1e-5)


class TestDetectedThings:
    """The tower knows two names; in the map's one large part it saw a square, twice, and little of a second one."""

    FOUND = torch.tensor(
        [[0.25, 0.25, 0.50, 0.75, 0.81, 0.0], [0.26, 0.25, 0.50, 0.75, 0.3, 0.0], [0.5, 0.2, 0.9, 1.0, 0.04, 0.0]]
    )
    PHRASES = ("squares", "square", "nothing")

    @pytest.fixture
    def detector(self) -> SegmenterDetector:
        segmenter = Painted()
        segmenter.maps["square"] = torch.full((10, 20), -8.0)
        segmenter.maps["square"][2:8, 5:18] = 2.0
        segmenter.maps["square"][0:2, 0:2] = 3.0
        return SegmenterDetector(segmenter, ("square", "boat"))

    @pytest.fixture
    def features(self) -> Features:
        return {"detections": self.FOUND[None]}

    @staticmethod
    def of_phrase(found: Detections, index: int) -> tuple[list[list[float]], list[float]]:
        mine = found.phrase_index == index
        return found.boxes_xyxy[mine].tolist(), found.scores[mine].tolist()

    def test_a_part_falls_into_the_things_detected_in_it(self, detector: SegmenterDetector, features: Features) -> None:
        boxes, scores = self.of_phrase(detector.detect(features, ["square"], (100, 400), Thresholds(0.05)), 0)
        # Two things, the doubled one once; then the corner that nobody detected, at the least detection's score.
        np.testing.assert_allclose(boxes, [[100, 25, 200, 75], [200, 20, 360, 100], [0, 0, 40, 20]], atol=1e-4)
        said = torch.tensor([2.0, 2.0, 3.0]).sigmoid().numpy() * 0.8
        np.testing.assert_allclose(scores, np.sqrt(said * [0.81, 0.04, MIN_DETECTED]), atol=1e-6)

    def test_a_detection_that_the_phrase_denies_scores_low(
        self, detector: SegmenterDetector, features: Features
    ) -> None:
        detector.segmenter.maps["boat"] = torch.full((10, 20), -8.0)
        features["detections"][0, 0, 5] = 0.9
        found = detector.detect(features, ["boat"], (100, 400), Thresholds(0.0))
        assert len(found.scores) == 1 and found.scores.item() < 0.03

    def test_kinds_of_a_name_are_told_apart_by_their_maps(self) -> None:
        segmenter = Painted()
        detector = SegmenterDetector(segmenter, ("person",))
        features = {"detections": torch.tensor([[[0.1, 0.0, 0.3, 1.0, 0.9], [0.6, 0.0, 0.8, 1.0, 0.9]]])}
        for name, columns in (("woman", slice(2, 6)), ("man", slice(12, 16))):
            segmenter.maps[name] = torch.full((10, 20), -5.0)
            segmenter.maps[name][:, columns] = 3.0
        found = detector.detect(features, ["woman", "man"], (100, 400), Thresholds(0.3))
        np.testing.assert_allclose(self.of_phrase(found, 0)[0], [[40, 0, 120, 100]], atol=1e-4)
        np.testing.assert_allclose(self.of_phrase(found, 1)[0], [[240, 0, 320, 100]], atol=1e-4)

    def test_a_name_that_is_not_detected_stays_as_it_was(self, features: Features) -> None:
        plain, knowing = SegmenterDetector(Painted()), SegmenterDetector(Painted(), ("boat",))
        for threshold in (0.0, 0.85):
            before = plain.detect(features, self.PHRASES, (100, 400), Thresholds(threshold))
            after = knowing.detect(features, self.PHRASES, (100, 400), Thresholds(threshold))
            assert same(before, after)

    def test_an_embedding_without_detections_is_answered_by_the_maps(self) -> None:
        plain, knowing = SegmenterDetector(Painted()), SegmenterDetector(Painted(), ("square",))
        before, after = (one.detect({}, ["square"], (100, 400), Thresholds(0.1)) for one in (plain, knowing))
        assert same(before, after) and len(after.scores) == 1

    @pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
    def test_neighbors_and_their_order_change_nothing(
        self, detector: SegmenterDetector, features: Features, order: tuple[int, ...]
    ) -> None:
        asked = [self.PHRASES[index] for index in order]
        together = detector.detect(features, asked, (100, 400), Thresholds(0.0))
        for index, phrase in enumerate(asked):
            alone = detector.detect(features, [phrase], (100, 400), Thresholds(0.0))
            assert self.of_phrase(together, index) == self.of_phrase(alone, 0)
            assert together.peaks[index] == alone.peaks[0]


class TestByName:
    def test_an_unknown_one_is_named(self) -> None:
        with pytest.raises(
            UnknownModelError, match=r"no detector 'dino9'; there are grounding-dino-tiny, .*give a path"
        ):
            load_detector("dino9", device=CPU)

    def test_a_directory_of_something_else(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"can't read its config\.json"):
            load_detector(tmp_path, device=CPU)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
        with pytest.raises(CheckpointError, match="holds a 'bert'; detectors are grounding-dino and owlv2"):
            load_detector(tmp_path, device=CPU)
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "owlv2"}))
        with pytest.raises(CheckpointError, match="no OWLv2 for transformers"):
            load_detector(tmp_path, device=CPU)

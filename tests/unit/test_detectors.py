"""What all detectors share, a segmenter as one, and finding one by name or path."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from promptseg.detectors.base import MAX_BOXES, Thresholds, collect, corners, suppress_per_phrase
from promptseg.detectors.from_segmenter import SegmenterDetector
from promptseg.detectors.load import load_detector
from promptseg.errors import CheckpointError, PromptError, UnknownModelError
from promptseg.models.base import Features, Prediction, Segmenter
from promptseg.models.registry import load_model
from promptseg.prompts import Query

CPU = torch.device("cpu")


class Painted:
    """A segmenter whose maps, 10x20 for a picture of 100x400, are known: two squares, one, none."""

    prompt_kinds = frozenset({"text"})
    mask_threshold = 0.6
    presence_threshold = 0.5

    def __init__(self) -> None:
        self.maps = {name: torch.full((10, 20), -8.0) for name in ("squares", "square", "nothing")}
        self.maps["squares"][1:4, 2:6] = 2.0
        self.maps["squares"][6:9, 12:18] = 4.0
        self.maps["square"][0:10, 0:20] = 1.0

    def encode_image(self, image_rgb: np.ndarray) -> Features:
        return {"picture": torch.from_numpy(image_rgb.copy())[None]}

    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        labels = [query.label for query in queries]
        presence = torch.tensor([{"squares": 0.9, "square": 0.8, "nothing": 0.1}[label] for label in labels])
        return Prediction(torch.stack([self.maps[label] for label in labels]), presence, torch.ones(len(labels)))


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


def test_corners_of_centres_and_sizes() -> None:
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

    def test_a_phrase_does_not_depend_on_its_neighbours(self) -> None:
        segmenter: Segmenter = load_model("promptseg-test")
        detector = SegmenterDetector(segmenter)
        picture = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
        features = detector.encode_image(picture)
        alone = detector.detect(features, ["cat"], (60, 90), Thresholds(0.0))
        together = detector.detect(features, ["grass", "cat"], (60, 90), Thresholds(0.0))
        mine = together.phrase_index == 1
        torch.testing.assert_close(together.boxes_xyxy[mine], alone.boxes_xyxy)
        torch.testing.assert_close(together.scores[mine], alone.scores, rtol=1e-4, atol=1e-5)


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

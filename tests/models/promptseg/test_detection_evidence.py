"""What was detected counts for, or against, a name's presence."""

import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_coarse import counted_graphs
from numpy.typing import NDArray

from promptseg.encoders.tokenizers import BytesTokenizer
from promptseg.language.class_names import COCO_THINGS
from promptseg.language.reading import PhraseReader
from promptseg.models.promptseg.coarse import CoarseImage, CoarseSegmenter
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.ops.deferred import Deferred
from promptseg.prompts import ExemplarPrompt, TextPrompt

SCALE, SHIFT = 0.7, 1.5
CONFIG = PromptSegConfig(
    "efficientnet-lite2+yolox-nano", (8, 16), "bytes-test", detection_evidence=(SCALE, SHIFT),
    presence_calibration=(0.5, -2.0),
)  # fmt: skip
LEAST_SCORE = CONFIG.settings.detection.least_evidence_score
MAP = np.zeros((6, 8), dtype=np.float32)


def detections() -> NDArray[np.float32]:
    """Two dogs, the second surer; a bus; hardly a car."""
    scores = np.zeros((3, len(COCO_THINGS)), dtype=np.float32)
    for row, name, score in ((0, "dog", 0.2), (1, "dog", 0.9), (1, "car", 0.001), (2, "bus", 0.6)):
        scores[row, COCO_THINGS.index(name)] = score
    boxes = np.broadcast_to(np.array([0.1, 0.1, 0.5, 0.5], dtype=np.float32), (3, 4))
    return np.concatenate([boxes, scores], axis=1)


def presence_logits(
    groups: list[tuple[TextPrompt, ...]], found: NDArray[np.float32] | None, config: PromptSegConfig = CONFIG
) -> NDArray[np.float64]:
    coarse = CoarseSegmenter(config, counted_graphs(detections(), MAP), BytesTokenizer(48))
    image = CoarseImage(np.zeros((1, 8, 6, 8), dtype=np.float32), None if found is None else Deferred.of(found))
    readings = {one.text: coarse.reader.read(one.text) for group in groups for one in group}
    presence = np.array([answer.presence for answer in coarse.segment(image, groups, readings)])
    scale, shift = config.presence_calibration
    return (np.log(presence / (1 - presence)) - shift) / scale


def test_a_phrase_may_have_adjectives_and_contents() -> None:
    assert PhraseReader(("person", "car")).read("old woman").any_classes == (0,)
    assert PhraseReader(("person", "cup")).read("cup of tea").any_classes == (1,)


@pytest.mark.parametrize(
    ("name", "score"),
    [
        ("dog", 0.9),
        ("The dogs", 0.9),
        ("car", LEAST_SCORE),
        ("bus", 0.6),
        ("red bus", None),  # not every bus is red
        ("taxi", None),  # not every car is a taxi
        ("grass", None),
    ],
)
def test_the_surest_detection_of_what_is_named_is_added(name: str, score: float | None) -> None:
    groups = [(TextPrompt(name),)]
    added = presence_logits(groups, detections()) - presence_logits(groups, None)
    expected = 0.0 if score is None else SCALE * math.log(score / (1.0 - score)) + SHIFT
    assert added == pytest.approx([expected], abs=1e-3)


def test_a_hypernym_is_there_where_one_of_its_hyponyms_is() -> None:
    groups = [(TextPrompt("vehicle"),)]
    added = presence_logits(groups, detections()) - presence_logits(groups, None)
    assert added == pytest.approx([SCALE * math.log(0.6 / 0.4) + SHIFT], abs=1e-3)


def test_a_mixture_gets_no_evidence() -> None:
    groups = [(TextPrompt("dog"), TextPrompt("car", weight=-0.5))]
    np.testing.assert_allclose(presence_logits(groups, detections()), presence_logits(groups, None))


def test_a_model_without_evidence_ignores_detections() -> None:
    groups = [(TextPrompt("dog"),)]
    blind = replace(CONFIG, detection_evidence=None)
    np.testing.assert_allclose(presence_logits(groups, detections(), blind), presence_logits(groups, None))


class SecondDetector:
    """Sees one dog well, where the tower does, and counts its calls."""

    def __init__(self) -> None:
        self.num_calls = 0

    def detect(self, image_rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.num_calls += 1
        return detections()[1:2] * np.float32([1, 1, 1, 1] + [0.5] * len(COCO_THINGS))


def test_a_second_detector_looks_for_phrases_alone() -> None:
    detector = SecondDetector()
    graphs = counted_graphs(detections(), MAP)
    coarse = CoarseSegmenter(CONFIG, graphs, BytesTokenizer(48), detector=detector)
    image_rgb = np.zeros((60, 80, 3), dtype=np.uint8)
    image = coarse.encode(image_rgb)
    example = ExemplarPrompt(image_rgb, np.ones((60, 80), dtype=np.bool_))
    coarse.segment(image, [(example,)], {})
    assert detector.num_calls == 0
    (answer,) = coarse.segment(image, [(TextPrompt("dog"),)], {"dog": coarse.reader.read("dog")})
    coarse.segment(image, [(TextPrompt("bus"),)], {"bus": coarse.reader.read("bus")})
    assert detector.num_calls == 1
    # the mean of .9 and .45
    assert answer.evidence.detection_logit == pytest.approx(math.log(0.675 / 0.325), abs=1e-4)


def test_a_detector_needs_a_tower_that_detects() -> None:
    with pytest.raises(ValueError, match="conv-test does not"):
        PromptSegConfig("conv-test", (8, 16), "bytes-test", detector="efficientdet-lite0")

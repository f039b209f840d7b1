"""The classes that parts of an image look like count for, or against, a name's presence."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from drawn_coarse import counted_graphs
from numpy.typing import NDArray

from promptseg.encoders.tokenizers import BytesTokenizer
from promptseg.errors import CheckpointError
from promptseg.language.imagenet import find_imagenet_classes
from promptseg.models.promptseg.coarse import CoarseImage, CoarseSegmenter
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.presence import PresenceEvidence, classify_parts
from promptseg.models.promptseg.settings import ClassifierSettings, PresenceWeights
from promptseg.prompts import ExemplarPrompt, TextPrompt

SETTINGS = ClassifierSettings(
    "efficientnet-lite2",
    trained=PresenceWeights(1.0, shift=0.5),
    trained_and_classified=PresenceWeights(0.8, classes=0.6, shift=2.0),
    detected=PresenceWeights(1.2, detection=0.4, shift=1.0),
    detected_and_classified=PresenceWeights(0.9, detection=0.5, classes=0.2, shift=3.0),
    untrained=PresenceWeights(0.6),
    untrained_and_classified=PresenceWeights(0.5, classes=0.7, shift=3.0),
)
CONFIG = PromptSegConfig(
    "conv-test", (8, 16), "bytes-test", trained_names=("lamp", "zebra", "animal"), classifier=SETTINGS
)
MAP = np.zeros((6, 8), dtype=np.float32)
(ZEBRA,) = find_imagenet_classes("zebra")


class NoClassifier:
    """Stands for a classifier whose output is in the image already."""

    def classify(self, image_rgb: NDArray[np.uint8], *, image_size: int | None = None) -> NDArray[np.float32]:
        raise AssertionError("nothing is encoded here")


def class_logits(cells: slice, strength: float = 12.0) -> NDArray[np.float32]:
    """Logits over 5 x 6 cells, some of which are zebra."""
    logits = np.zeros((1000, 5, 6), dtype=np.float32)
    logits[ZEBRA, cells, cells] = strength
    return logits


def evidence_of(name: str, image: CoarseImage, config: PromptSegConfig = CONFIG) -> tuple[PresenceEvidence, float]:
    coarse = CoarseSegmenter(
        config, counted_graphs(np.zeros((0, 84), np.float32), MAP), BytesTokenizer(48), NoClassifier()
    )
    (answer,) = coarse.segment(image, [(TextPrompt(name),)], {name: coarse.reader.read(name)})
    return answer.evidence, float(np.log(answer.presence / (1 - answer.presence)))


def an_image(logits: NDArray[np.float32] | None) -> CoarseImage:
    return CoarseImage(np.zeros((1, 8, 6, 8), dtype=np.float32), None, logits)


def test_a_class_in_a_part_of_the_image_is_evidence() -> None:
    shown, with_zebra = evidence_of("zebras", an_image(class_logits(slice(0, 3))))
    hidden, without = evidence_of("zebras", an_image(class_logits(slice(0, 0))))
    assert shown.class_logit is not None and hidden.class_logit is not None
    assert shown.class_logit > 3 and hidden.class_logit < -6
    assert with_zebra - without == pytest.approx(0.6 * (shown.class_logit - hidden.class_logit), abs=1e-4)


def test_each_kind_of_evidence_has_its_weights() -> None:
    image = an_image(class_logits(slice(0, 3)))
    lamp, lamp_logit = evidence_of("lamp", image)
    assert lamp.class_logit is None or lamp.kind(is_trained=True) == "trained_and_classified"
    evidence = PresenceEvidence(2.0, -1.0, 3.0)
    assert evidence.kind(is_trained=False) == "detected_and_classified"
    assert evidence.weigh(CONFIG, is_trained=True) == pytest.approx(0.9 * 2 - 0.5 + 0.2 * 3 + 3)
    assert PresenceEvidence(2.0, -1.0).weigh(CONFIG, is_trained=True) == pytest.approx(1.2 * 2 - 0.4 + 1)
    assert PresenceEvidence(2.0).weigh(CONFIG, is_trained=True) == pytest.approx(2.5)
    assert PresenceEvidence(2.0).weigh(CONFIG, is_trained=False) == pytest.approx(1.2)
    assert PresenceEvidence(2.0, None, 3.0).weigh(CONFIG, is_trained=True) == pytest.approx(1.6 + 1.8 + 2)
    assert PresenceEvidence(2.0, None, 3.0).weigh(CONFIG, is_trained=False) == pytest.approx(1 + 2.1 + 3)
    assert np.isfinite(lamp_logit)


def test_without_classes_of_its_own_or_of_the_image_a_name_has_no_evidence_of_them() -> None:
    assert evidence_of("the sky", an_image(class_logits(slice(0, 3))))[0].class_logit is None
    assert evidence_of("zebra", an_image(None))[0].class_logit is None


def test_the_weights_are_for_whole_images() -> None:
    evidence, logit = evidence_of("lamp", an_image(None))
    assert logit == pytest.approx(evidence.map_logit, abs=1e-4)


def test_examples_ask_no_classifier() -> None:
    coarse = CoarseSegmenter(
        CONFIG, counted_graphs(np.zeros((0, 84), np.float32), MAP), BytesTokenizer(48), NoClassifier()
    )
    pixels = np.zeros((64, 64, 3), np.uint8)
    group = (ExemplarPrompt(pixels, box_xyxy=(8, 8, 40, 40)),)
    (answer,) = coarse.segment(an_image(class_logits(slice(0, 3))), [group], {})
    assert answer.evidence == PresenceEvidence(answer.evidence.map_logit)


def test_parts_are_windows_and_the_whole() -> None:
    logits = np.random.default_rng(0).normal(size=(7, 4, 5)).astype(np.float32)
    parts = classify_parts(logits, 3)
    assert parts.shape == (7, 2 * 3 + 1)
    np.testing.assert_allclose(parts.sum(axis=0), 1, rtol=1e-5)
    for column, mean in ((0, logits[:, :3, :3].mean(axis=(1, 2))), (6, logits.mean(axis=(1, 2)))):
        np.testing.assert_allclose(parts[:, column], np.exp(mean) / np.exp(mean).sum(), rtol=1e-4)
    assert classify_parts(logits[:, :1, :2], 3).shape == (7, 2), "an image smaller than a window is one window"


def test_embedding_keeps_the_classes() -> None:
    image = an_image(class_logits(slice(0, 3)))
    restored = CoarseImage.from_arrays(image.to_arrays())
    assert restored.class_logits is image.class_logits
    assert "class_logits" not in an_image(None).to_arrays()


def test_config_with_a_classifier_round_trips_and_is_checked() -> None:
    values = {**asdict(CONFIG), "classifier": asdict(SETTINGS)}
    assert PromptSegConfig.from_dict(values) == CONFIG
    assert CONFIG.published_towers[-1] == "efficientnet-lite2"
    with pytest.raises(CheckpointError, match=r"name must be one of .*, got 'resnet'"):
        PromptSegConfig.from_dict({**values, "classifier": {"name": "resnet"}})
    for unsure in (-0.1, 0.6):
        with pytest.raises(ValueError, match="unsure_threshold must be in"):
            replace(CONFIG, unsure_threshold=unsure)

"""What a tower detected speaks for, or against, a name's presence."""

import doctest
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from promptseg.language import matching
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.promptseg.text_segmenter import LEAST_SCORE
from promptseg.models.registry import find_record
from promptseg.prompts import Query, TextPrompt

NAMES = ("dog", "car", "bus")
SCALE, SHIFT = 0.7, 1.5
SIZE_HW = (60, 90)


def test_the_examples_in_the_docstrings_hold() -> None:
    results = doctest.testmod(matching)
    assert results.attempted and not results.failed


@pytest.fixture(scope="module")
def network() -> PromptSeg:
    config = find_record("promptseg-test-dense").config
    assert isinstance(config, PromptSegConfig) and config.dense is not None
    torch.manual_seed(0)
    dense = replace(config.dense, exemplar_dim=8, detection_evidence=(SCALE, SHIFT))
    network = PromptSeg(replace(config, dense=dense)).eval()
    network.image_tower.detected_names = NAMES
    return network


def presence_logits(network: PromptSeg, queries: list[Query], detections: torch.Tensor | None) -> torch.Tensor:
    image_rgb = np.random.default_rng(2).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    features = network.encode_image(image_rgb)
    if detections is not None:
        features = {**features, "detections": detections}
    presence = network.segment(features, queries, SIZE_HW).presence.double().logit()
    scale, shift = network.config.presence_calibration
    return (presence - shift) / scale


def test_the_surest_detection_of_what_is_named_is_added(network: PromptSeg) -> None:
    boxes = torch.tensor([0.1, 0.1, 0.5, 0.5]).expand(3, 4)
    scores = torch.tensor([[0.2, 0.0, 0.0], [0.9, 0.001, 0.0], [0.0, 0.0, 0.6]])
    detections = torch.cat([boxes, scores], dim=1)[None]
    expected = {
        "dog": 0.9,
        "The dogs": 0.9,
        "car": LEAST_SCORE,
        "vehicle": 0.6,  # the bus is one
        "red bus": None,  # not every bus is red
        "taxi": None,
        "grass": None,
    }
    queries = [Query(name, [TextPrompt(name)]) for name in expected]
    queries.append(Query("dog, not car", [TextPrompt("dog"), TextPrompt("car", weight=-0.5)]))
    added = presence_logits(network, queries, detections) - presence_logits(network, queries, None)
    for row, score in enumerate((*expected.values(), None)):
        told = 0.0 if score is None else SCALE * math.log(score / (1.0 - score)) + SHIFT
        assert added[row].item() == pytest.approx(told, abs=1e-3)


def test_an_embedding_without_detections_is_judged_as_before(network: PromptSeg) -> None:
    config = network.config
    assert config.dense is not None
    blind = PromptSeg(replace(config, dense=replace(config.dense, detection_evidence=None))).eval()
    blind.load_state_dict(network.state_dict())
    queries = [Query("dog", [TextPrompt("dog")])]
    torch.testing.assert_close(presence_logits(network, queries, None), presence_logits(blind, queries, None))

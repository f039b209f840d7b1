"""The shipped default model on the bundled photos: its answers stay what they are.

`make_answers.py` wrote the golden answers. PyTorch computes here: its numbers depend least on the processor.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_requests import Request, iterate_requests

import promptseg
from promptseg.ops.rle import decode_rle

ANSWERS: dict[str, Any] = json.loads(Path(__file__).with_name("answers.json").read_text(encoding="utf-8"))
REQUESTS = {request.name: request for request in iterate_requests()}


@pytest.fixture(scope="module")
def model() -> Iterator[promptseg.Predictor]:
    yield promptseg.load(engine="torch")


def test_every_request_has_an_answer() -> None:
    assert list(ANSWERS) == list(REQUESTS)


@pytest.mark.parametrize("request_name", REQUESTS)
def test_answer_stays_what_it_is(model: promptseg.Predictor, request_name: str) -> None:
    asked: Request = REQUESTS[request_name]
    golden = ANSWERS[request_name]
    predictor = model if asked.tile_side is None else model.tiled(asked.tile_side)

    result = predictor.segment(asked.path, asked.query, threshold=0.0)[0]

    assert result.presence == pytest.approx(golden["presence"], abs=0.005)
    expected = decode_rle(golden["mask"])
    union = (result.mask | expected).sum()
    assert union == 0 or (result.mask & expected).sum() / union > 0.99
    boxes = np.array([instance.box_xyxy for instance in result.instances]).reshape(-1, 4)
    expected_boxes = np.array([each["box_xyxy"] for each in golden["instances"]]).reshape(-1, 4)
    assert boxes.shape == expected_boxes.shape
    assert np.abs(boxes - expected_boxes).max(initial=0) <= 3


# On another engine: numbers that are rounded differently, so only the most important requests and looser tolerances.
FEW = ["astronaut: person", "chelsea: the cat's ear", "rocket: sky", "coffee: the cup on the left", "rocket: giraffe"]


@pytest.fixture(scope="module")
def fast_model() -> Iterator[promptseg.Predictor]:
    yield promptseg.load(engine="auto", device="cpu")


@pytest.mark.parametrize("request_name", [*FEW, "coffee: click", "chelsea: exemplar"])
def test_the_fastest_engine_gives_nearly_the_same(fast_model: promptseg.Predictor, request_name: str) -> None:
    asked, golden = REQUESTS[request_name], ANSWERS[request_name]
    result = fast_model.segment(asked.path, asked.query, threshold=0.0)[0]
    assert result.presence == pytest.approx(golden["presence"], abs=0.05)
    expected = decode_rle(golden["mask"])
    union = (result.mask | expected).sum()
    # the mask of what is absent means nothing
    assert result.presence < 0.5 or (result.mask & expected).sum() / union > 0.9


def test_of_kinds_that_mean_one_detection_the_best_fit_is_the_likeliest_in_any_order(
    fast_model: promptseg.Predictor,
) -> None:
    kinds = ["tabby", "siamese cat", "egyptian cat"]
    path = REQUESTS["chelsea: the cat's ear"].path
    for names in (kinds, kinds[::-1]):
        result = fast_model.segment(path, names)
        everywhere = np.logical_and.reduce([each.mask for each in result])
        assert everywhere.mean() > 0.5
        likelihood = {name: float(result[name].probability[everywhere].mean()) for name in names}
        assert sorted(likelihood, key=likelihood.__getitem__) == kinds

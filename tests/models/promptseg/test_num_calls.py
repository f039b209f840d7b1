"""How often each part of the default model computes: once for a request, and only what the request needs."""

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from drawn_coarse import DrawnCoarse, counted_graphs
from drawn_masker import SIZE_HW, DrawnMasker, rectangle
from numpy.typing import NDArray

from promptseg.encoders.tokenizers import BytesTokenizer
from promptseg.language.class_names import COCO_THINGS
from promptseg.models.promptseg.coarse import CoarseSegmenter
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.graphs import PromptSegGraphs
from promptseg.models.promptseg.pipeline import PromptSegPipeline
from promptseg.prompts import to_queries
from promptseg.sam.base import SamEmbedding

LEFT, RIGHT = rectangle(8, 8, 48, 64), rectangle(72, 16, 120, 56)
IMAGE = np.zeros((*SIZE_HW, 3), dtype=np.uint8)
REFERRING = [
    "the person on the left",
    "the second person from the left",
    "the person next to the tree",
    "the person in red",
    "the cup on the right",
    "the cup near the person",
]


def detections() -> NDArray[np.float32]:
    """Two persons and two cups."""
    boxes = np.array([(8, 8, 48, 64), (72, 16, 120, 56)] * 2) / np.tile(SIZE_HW[::-1], 2)
    scores = np.zeros((4, len(COCO_THINGS)))
    scores[:2, COCO_THINGS.index("person")] = 0.8
    scores[2:, COCO_THINGS.index("cup")] = 0.7
    return np.concatenate([boxes, scores], axis=1).astype(np.float32)


@pytest.fixture
def graphs() -> PromptSegGraphs:
    drawn = (LEFT | RIGHT)[2::4, 2::4]
    return counted_graphs(detections(), (drawn * 12 - 6).astype(np.float32))


@pytest.fixture
def sam() -> DrawnMasker:
    return DrawnMasker([LEFT, RIGHT])


@pytest.fixture
def segmenter(graphs: PromptSegGraphs, sam: DrawnMasker) -> PromptSegPipeline:
    config = PromptSegConfig("efficientnet-lite2+yolox-nano", (8, 16), "bytes-test", refiner="mobile-sam")
    return PromptSegPipeline(CoarseSegmenter(config, graphs, BytesTokenizer(48)), sam)


def num_calls(graphs: PromptSegGraphs) -> dict[str, int]:
    return {name: graph.num_calls for name, graph in vars(graphs).items()}


def test_six_referring_expressions_are_one_call_of_each_part(
    segmenter: PromptSegPipeline, graphs: PromptSegGraphs, sam: DrawnMasker
) -> None:
    encoded = segmenter.encode_image(IMAGE)
    assert num_calls(graphs) == {"images": 1, "texts": 0, "decode": 0, "exemplar": 0}
    found = segmenter.segment(encoded, to_queries(REFERRING))
    assert num_calls(graphs) == {"images": 1, "texts": 1, "decode": 1, "exemplar": 0}
    assert sam.calls == [(len(REFERRING), "single")], "every prompt is a box"
    assert [len(each or ()) for each in found.instances or ()] == [1] * len(REFERRING)


def test_names_are_one_call_of_the_network_and_one_of_sam_for_each_form_of_prompt(
    segmenter: PromptSegPipeline, graphs: PromptSegGraphs, sam: DrawnMasker
) -> None:
    segmenter.segment(segmenter.encode_image(IMAGE), to_queries(["person", "cup", "grass", "sky", *REFERRING]))
    assert num_calls(graphs) == {"images": 1, "texts": 1, "decode": 1, "exemplar": 0}
    # two detections of each of two names and an object of each expression; two regions of each of two other names
    assert sorted(sam.calls) == [(4, "single"), (4 + len(REFERRING), "single")]


def test_sam_does_not_encode_an_image_in_which_nothing_is_drawn(sam: DrawnMasker) -> None:
    absent = DrawnCoarse(lambda text: LEFT, presence={"unicorn": 0.05, "dragon": 0.01})
    segmenter = PromptSegPipeline(absent, sam)  # type: ignore[arg-type]
    encoded = segmenter.encode_image(IMAGE)
    segmenter.segment(encoded, to_queries(["unicorn", "dragon"]))
    assert (sam.num_encoded, sam.calls) == (0, [])
    assert not encoded.sam.is_known
    segmenter.segment(encoded, to_queries(["unicorn", "cat"]))
    assert (sam.num_encoded, sam.calls) == (1, [(1, "single")])


def test_sam_encodes_an_image_once_for_all_requests_and_threads(graphs: PromptSegGraphs) -> None:
    class SlowSam(DrawnMasker):
        def encode(self, image_rgb: NDArray[np.uint8]) -> SamEmbedding:
            encoded = super().encode(image_rgb)
            time.sleep(0.1)  # the other thread comes while it runs
            return encoded

    sam = SlowSam([LEFT, RIGHT])
    segmenter = PromptSegPipeline(DrawnCoarse(lambda text: LEFT), sam)  # type: ignore[arg-type]
    encoded = segmenter.encode_image(IMAGE)
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: segmenter.segment(encoded, to_queries("cat")), range(2)))
    answers.append(segmenter.segment(encoded, to_queries("cat")))
    assert sam.num_encoded == 1
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer.mask_logits, answers[0].mask_logits)

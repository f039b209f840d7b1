"""The default architecture asked with exemplars: mixtures, batches, engines, and what it refuses."""

import gc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from drawn_coarse import CountedGraph, counted_graphs
from drawn_masker import DrawnMasker, rectangle

from promptseg.encoders.pixels import context_window
from promptseg.encoders.tokenizers import BytesTokenizer
from promptseg.layers.exemplar import ExemplarHead
from promptseg.models.build import build_seeded
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.coarse import CoarseSegmenter
from promptseg.models.promptseg.coarse_segmenter import TextAndExemplarSegmenter
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.promptseg.pipeline import PromptSegPipeline
from promptseg.models.registry import find_row, segment_with
from promptseg.prompts import ExemplarPrompt, PointPrompt, Query, TextPrompt
from promptseg.runtime import Runtime
from promptseg.segmenter import Segmenter

SIZE_HW = (60, 90)
GRASS = TextPrompt("grass")


@pytest.fixture(scope="module")
def network() -> PromptSegNetwork:
    network = build_seeded(find_row("promptseg-test-dense").config).eval()
    assert isinstance(network, PromptSegNetwork)
    generator = torch.Generator().manual_seed(0)
    torch.nn.init.normal_(network.exemplar.shift.proj_out.weight, std=0.05, generator=generator)
    return network


@pytest.fixture(scope="module")
def segmenter(network: PromptSegNetwork) -> Segmenter:
    return segment_with(network)


@pytest.fixture(scope="module")
def exemplar() -> ExemplarPrompt:
    image_rgb = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), dtype=bool)
    mask[10:40, 20:60] = True
    return ExemplarPrompt(image_rgb, mask)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)


def test_a_mixture_lies_between_its_parts(
    network: PromptSegNetwork, segmenter: Segmenter, exemplar: ExemplarPrompt, image: np.ndarray
) -> None:
    queries = [
        Query("text", (GRASS,)),
        Query("exemplar", (exemplar,)),
        Query("both", (TextPrompt("grass", weight=3.0), exemplar)),
        Query("but not", (GRASS, replace(exemplar, weight=-0.5))),
    ]
    text, shown, both, but_not = segmenter.segment(segmenter.encode_image(image), queries).mask_logits
    # logits are linear in the vector that pixels are compared with, but for the bias, which every query has once
    np.testing.assert_allclose(both, 0.75 * text + 0.25 * shown, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(but_not, text - 0.5 * (shown - network.dense.bias.item()), atol=1e-4, rtol=1e-4)


def test_one_by_one_as_together_and_in_any_order(
    segmenter: Segmenter, exemplar: ExemplarPrompt, image: np.ndarray
) -> None:
    encoded = segmenter.encode_image(image)
    queries = [Query("a", (exemplar,)), Query("b", (TextPrompt("sky"),)), Query("c", (TextPrompt("cat"), exemplar))]
    together = segmenter.segment(encoded, queries)
    backwards = segmenter.segment(encoded, queries[::-1])
    np.testing.assert_allclose(together.mask_logits, backwards.mask_logits[::-1], atol=1e-5)
    for index, query in enumerate(queries):
        alone = segmenter.segment(encoded, [query])
        np.testing.assert_allclose(alone.presence[0], together.presence[index], atol=1e-5)
        np.testing.assert_allclose(alone.mask_logits[0], together.mask_logits[index], atol=1e-5)


def coarse_with(graph: CountedGraph) -> CoarseSegmenter:
    graphs = counted_graphs(np.zeros((0, 84), dtype=np.float32), np.zeros((6, 8), dtype=np.float32))
    config = PromptSegConfig("conv-test", (8, 16), "bytes-test")
    return CoarseSegmenter(config, replace(graphs, exemplar=graph), BytesTokenizer(48))


def counted() -> CountedGraph:
    return CountedGraph(lambda cells, coverage: {"embedding": np.ones(8, np.float32)})


def test_an_exemplar_is_embedded_once_for_all_images_and_forgotten_with_the_prompt(image: np.ndarray) -> None:
    graph = counted()
    segmenter = TextAndExemplarSegmenter(coarse_with(graph))
    one = ExemplarPrompt(image)
    queries = [Query("exemplar", (one,)), Query("both", (GRASS, one))]
    for image_rgb in (image, image[::-1].copy()):
        segmenter.segment(segmenter.encode_image(image_rgb), queries)
    assert graph.num_calls == 1
    segmenter.segment(segmenter.encode_image(image), [Query("a copy", (ExemplarPrompt(image),))])
    assert graph.num_calls == 2, "another prompt is another exemplar"
    vectors = segmenter._coarse._exemplars._vectors
    del one, queries
    gc.collect()
    assert len(vectors) == 0


def test_the_pipeline_takes_exemplars_with_clicks(image: np.ndarray) -> None:
    object_mask = rectangle(20, 20, 60, 60)
    graph = counted()
    segmenter = PromptSegPipeline(coarse_with(graph), DrawnMasker([object_mask]))
    query = Query("it", (ExemplarPrompt(image), PointPrompt(((40, 40),))))
    found = segmenter.segment(segmenter.encode_image(np.zeros((*object_mask.shape, 3), np.uint8)), [query])
    assert graph.num_calls == 1
    assert found.presence.tolist() == [1.0]
    assert found.mask_logits[0][40 // 4, 40 // 4] > 0


def test_a_weight_changes_nothing_where_a_text_is_alone(segmenter: Segmenter, image: np.ndarray) -> None:
    encoded = segmenter.encode_image(image)
    heavy = segmenter.segment(encoded, [Query("sky", (TextPrompt("sky", weight=5.0),))])
    plain = segmenter.segment(encoded, [Query("sky", (TextPrompt("sky"),))])
    np.testing.assert_allclose(heavy.mask_logits, plain.mask_logits, atol=1e-5)


def test_a_compiled_network_gives_the_same(
    network: PromptSegNetwork, segmenter: Segmenter, exemplar: ExemplarPrompt, image: np.ndarray
) -> None:
    compiled = segment_with(network, Runtime("openvino"))
    queries = [Query("a", (exemplar,)), Query("b", (TextPrompt("cat"), exemplar))]
    plain, fast = (one.segment(one.encode_image(image), queries) for one in (segmenter, compiled))
    np.testing.assert_allclose(fast.mask_logits, plain.mask_logits, atol=2e-3, rtol=1e-3)


def test_a_checkpoint_keeps_the_exemplar_head(
    network: PromptSegNetwork, segmenter: Segmenter, exemplar: ExemplarPrompt, image: np.ndarray, tmp_path: Path
) -> None:
    save_pretrained(network, tmp_path)
    loaded = segment_with(load_pretrained(tmp_path).eval())
    query = [Query("a", (exemplar,))]
    before, after = (one.segment(one.encode_image(image), query) for one in (segmenter, loaded))
    np.testing.assert_array_equal(after.mask_logits, before.mask_logits)


def test_an_untrained_head_gives_the_mean_of_what_is_meant() -> None:
    cells = torch.nn.functional.normalize(torch.randn(6, 3, 4), dim=0)
    coverage = torch.zeros(3, 4)
    coverage[1, 2], coverage[2, 2] = 1.0, 0.5
    mean = torch.nn.functional.normalize(cells[:, 1, 2] + 0.5 * cells[:, 2, 2], dim=0)
    torch.testing.assert_close(ExemplarHead(6, 8)(cells, coverage), mean)
    everything = ExemplarHead(6, 8)(cells, torch.ones(3, 4))
    assert torch.isfinite(everything).all()


def test_the_window_on_an_example_holds_it_and_stays_in_the_image() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 80, 2)
        mask = np.zeros((height, width), dtype=bool)
        top, left = rng.integers(0, height), rng.integers(0, width)
        mask[top : top + rng.integers(1, 30), left : left + rng.integers(1, 30)] = True
        rows, columns = context_window(mask, context=0.5, min_share=0.4)
        assert mask[rows, columns].sum() == mask.sum()
        assert 0 <= rows.start < rows.stop <= height and 0 <= columns.start < columns.stop <= width

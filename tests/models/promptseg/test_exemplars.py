"""The default architecture asked with examples: mixtures, batches, engines, and what it refuses."""

import copy
import gc
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from promptseg.encoders.pixels import context_window
from promptseg.errors import UnsupportedPromptError
from promptseg.layers.exemplar import ExemplarHead
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.registry import find_record, load_model
from promptseg.prompts import ExemplarPrompt, Query, TextPrompt
from promptseg.runtime import build_segmenter

SIZE_HW = (60, 90)


@pytest.fixture(scope="module")
def network() -> PromptSeg:
    config = find_record("promptseg-test-dense").config
    assert isinstance(config, PromptSegConfig) and config.dense is not None
    torch.manual_seed(0)
    model = PromptSeg(replace(config, dense=replace(config.dense, exemplar_dim=8))).eval()
    with torch.no_grad():
        assert model.exemplar is not None
        torch.nn.init.normal_(model.exemplar.shift.proj_out.weight, std=0.05)
    return model


@pytest.fixture(scope="module")
def example() -> ExemplarPrompt:
    image_rgb = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), dtype=bool)
    mask[10:40, 20:60] = True
    return ExemplarPrompt(image_rgb, mask)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)


def test_an_example_is_a_kind_of_prompt_where_the_config_says_so(network: PromptSeg) -> None:
    assert network.prompt_kinds == {"text", "exemplar"}
    assert any(name.startswith("exemplar.") for name in network.trained_names())
    with pytest.raises(ValueError, match="no decoder"):
        replace(network.config, decoder_depth=2)


def test_a_mixture_lies_between_what_it_is_made_of(
    network: PromptSeg, example: ExemplarPrompt, image: np.ndarray
) -> None:
    features = network.encode_image(image)
    text = TextPrompt("grass")
    queries = [
        Query("text", (text,)),
        Query("example", (example,)),
        Query("both", (TextPrompt("grass", weight=3.0), example)),
        Query("but not", (text, replace(example, weight=-0.5))),
    ]
    words, shown, both, but_not = network.segment(features, queries, SIZE_HW).mask_logits
    # logits are linear in the vector that pixels are compared with, but for the bias, which every query has once
    torch.testing.assert_close(both, 0.75 * words + 0.25 * shown, atol=1e-4, rtol=1e-4)
    assert network.dense is not None
    torch.testing.assert_close(but_not, words - 0.5 * (shown - network.dense.bias), atol=1e-4, rtol=1e-4)


def test_one_by_one_as_together_and_in_any_order(
    network: PromptSeg, example: ExemplarPrompt, image: np.ndarray
) -> None:
    features = network.encode_image(image)
    queries = [Query("a", (example,)), Query("b", (TextPrompt("sky"),)), Query("c", (TextPrompt("cat"), example))]
    together = network.segment(features, queries, SIZE_HW)
    backwards = network.segment(features, queries[::-1], SIZE_HW)
    torch.testing.assert_close(together.mask_logits, backwards.mask_logits.flip(0))
    for index, query in enumerate(queries):
        alone = network.segment(features, [query], SIZE_HW)
        torch.testing.assert_close(alone.presence[0], together.presence[index])
        torch.testing.assert_close(alone.mask_logits[0], together.mask_logits[index])


@pytest.mark.parametrize("name", ["promptseg-test-dense", "clipseg-test"])
def test_an_example_is_embedded_once_by_what_keeps_its_weights(
    name: str, network: PromptSeg, example: ExemplarPrompt, image: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(name).eval() if name == "clipseg-test" else network
    seen: list[ExemplarPrompt] = []
    look_at = type(model)._look_at

    def count(self: object, prompt: ExemplarPrompt) -> torch.Tensor:
        seen.append(prompt)
        return look_at(self, prompt)

    monkeypatch.setattr(type(model), "_look_at", count)
    segmenter = build_segmenter(model, "torch")
    queries = [Query("example", (example,)), Query("both", (TextPrompt("grass"), example))]

    def ask(asked: object, image_rgb: np.ndarray) -> torch.Tensor:
        return asked.segment(asked.encode_image(image_rgb), queries, SIZE_HW).mask_logits

    images = (image, image[::-1].copy())
    expected = [ask(model, image_rgb) for image_rgb in images]
    assert len(seen) == 4, "a network may be trained on: it looks again"
    torch.testing.assert_close([ask(segmenter, image_rgb) for image_rgb in images], expected, rtol=0, atol=0)
    assert len(seen) == 5
    assert segmenter.state_dict().keys() == model.state_dict().keys()
    for copied in (copy.deepcopy(segmenter), pickle.loads(pickle.dumps(segmenter))):
        with torch.no_grad():
            for parameter in copied.parameters():
                parameter.mul_(0.9)
        seen.clear()
        assert not torch.equal(ask(copied, image), expected[0]) and len(seen) == 1, "a copy looks for itself"


def test_an_example_that_is_gone_is_not_kept(network: PromptSeg, image: np.ndarray) -> None:
    segmenter = build_segmenter(network, "torch")
    example = ExemplarPrompt(image)
    segmenter.segment(segmenter.encode_image(image), [Query("example", (example,))], SIZE_HW)
    assert len(segmenter.examples._vectors) == 1
    del example
    gc.collect()
    assert len(segmenter.examples._vectors) == 0


def test_text_alone_is_what_it_was(network: PromptSeg, image: np.ndarray) -> None:
    features = network.encode_image(image)
    asked = network.segment(features, [Query("sky", (TextPrompt("sky", weight=5.0),))], SIZE_HW)
    torch.testing.assert_close(asked.mask_logits, network.segment_texts(features, ["sky"], SIZE_HW).mask_logits)


def test_a_compiled_network_says_the_same(network: PromptSeg, example: ExemplarPrompt, image: np.ndarray) -> None:
    compiled = build_segmenter(network, "openvino")
    queries = [Query("a", (example,)), Query("b", (TextPrompt("cat"), example))]
    plain, fast = (one.segment(one.encode_image(image), queries, SIZE_HW) for one in (network, compiled))
    torch.testing.assert_close(fast.mask_logits, plain.mask_logits, atol=2e-3, rtol=1e-3)


def test_a_checkpoint_keeps_what_reads_examples(
    network: PromptSeg, example: ExemplarPrompt, image: np.ndarray, tmp_path: Path
) -> None:
    save_pretrained(network, tmp_path)
    loaded = load_pretrained(tmp_path).eval()
    query = [Query("a", (example,))]
    before, after = (one.segment(one.encode_image(image), query, SIZE_HW) for one in (network, loaded))
    torch.testing.assert_close(after.mask_logits, before.mask_logits)


def test_a_model_without_it_says_so(network: PromptSeg, example: ExemplarPrompt, image: np.ndarray) -> None:
    config = network.config
    assert config.dense is not None
    plain = PromptSeg(replace(config, dense=replace(config.dense, exemplar_dim=None))).eval()
    with pytest.raises(UnsupportedPromptError, match="one phrase a query"):
        plain.segment(plain.encode_image(image), [Query("a", (example,))], SIZE_HW)


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

"""Every tiny network as a segmenter: arrays in, arrays out, the same answers whatever else is asked."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from promptseg.errors import DataError, UnsupportedPromptError
from promptseg.models.build import Network, build_seeded
from promptseg.models.registry import find_row, segment_with
from promptseg.models.table import MODELS, NETWORK_CONFIGS
from promptseg.prompts import PointPrompt, Query, to_queries
from promptseg.segmenter import Segmenter

# Uni-OVSeg takes points too and finds names among regions: its tests are in uniovseg/
ARCHITECTURES = NETWORK_CONFIGS.keys() - {"uniovseg"}
TINY = [n for n, row in MODELS.items() if row.status == "test" and row.config.architecture in ARCHITECTURES]
TEXTS = ["a cat", "the grass behind it", "sky", "a red bus"]
IMAGE = np.random.default_rng(0).integers(0, 256, (90, 60, 3), dtype=np.uint8)


@pytest.fixture(params=TINY)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def network(name: str) -> Network:
    return build_seeded(find_row(name).config).eval()


@pytest.fixture
def segmenter(network: Network) -> Segmenter:
    return segment_with(network)


def test_many_queries_get_the_answers_of_few(segmenter: Segmenter) -> None:
    encoded = segmenter.encode_image(IMAGE)
    texts = [f"{text} {number}" for number in range(5) for text in TEXTS]  # more than one chunk of most models
    many = segmenter.segment(encoded, to_queries(texts))
    assert len(many.mask_logits) == len(many.presence) == len(many.mask_quality) == 20
    for values in (many.presence, many.mask_quality):
        assert values.dtype == np.float32
        assert ((values >= 0) & (values <= 1)).all()
    few = segmenter.segment(encoded, to_queries(texts[17:]))
    np.testing.assert_allclose(few.mask_logits, many.mask_logits[17:], atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(few.presence, many.presence[17:], atol=1e-4, rtol=1e-4)


def test_no_queries_give_no_answers(segmenter: Segmenter) -> None:
    none = segmenter.segment(segmenter.encode_image(IMAGE), [])
    assert len(none.mask_logits) == len(none.presence) == len(none.mask_quality) == 0


def test_prompt_kinds_are_those_of_the_table(name: str, segmenter: Segmenter) -> None:
    assert segmenter.prompt_kinds == find_row(name).prompt_kinds
    with pytest.raises(UnsupportedPromptError, match="query 'it' has point"):
        segmenter.segment(segmenter.encode_image(IMAGE), [Query("it", (PointPrompt(((5, 5),)),))])


def test_maps_cover_the_image_and_nothing_else(segmenter: Segmenter) -> None:
    """What lies in one corner changes the map most in that corner, at any ratio of the sides."""
    for height, width in ((40, 120), (120, 40)):
        image_rgb = np.full((height, width, 3), 90, dtype=np.uint8)
        queries = to_queries(TEXTS[:1])
        before = segmenter.segment(segmenter.encode_image(image_rgb), queries).mask_logits[0]
        image_rgb[-height // 4 :, -width // 4 :] = 255
        after = segmenter.segment(segmenter.encode_image(image_rgb), queries).mask_logits[0]
        change = np.abs(after - before)
        h, w = change.shape
        assert change[h // 2 :, w // 2 :].mean() > change[: h // 2, : w // 2].mean()


@pytest.mark.parametrize("size_hw", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_extreme_images_go_through(segmenter: Segmenter, size_hw: tuple[int, int]) -> None:
    encoded = segmenter.encode_image(np.full((*size_hw, 3), 99, dtype=np.uint8))
    assert encoded.size_hw == size_hw
    assert np.isfinite(segmenter.segment(encoded, to_queries(TEXTS)).mask_logits).all()


def test_an_image_comes_back_from_its_arrays(segmenter: Segmenter) -> None:
    encoded = segmenter.encode_image(IMAGE)
    arrays: dict[str, NDArray] = pickle.loads(pickle.dumps(encoded.to_arrays()))
    restored = segmenter.restore_image(arrays, IMAGE)
    before, after = (segmenter.segment(each, to_queries(TEXTS)) for each in (encoded, restored))
    np.testing.assert_array_equal(after.mask_logits, before.mask_logits)
    for missing in arrays:
        if missing == "detections":
            continue
        with pytest.raises(DataError, match=f"lacks '{missing}': encode the image again"):
            segmenter.restore_image({each: arrays[each] for each in arrays if each != missing}, IMAGE)


def test_a_compact_part_takes_half_the_memory_and_hardly_changes(segmenter: Segmenter) -> None:
    plain, compact = (segmenter.encode_part(IMAGE, compact=compact) for compact in (False, True))
    sizes = [sum(each.nbytes for each in part.to_arrays().values()) for part in (plain, compact)]
    assert sizes[1] == sizes[0] / 2
    before, after = (segmenter.segment(part, to_queries(TEXTS)) for part in (plain, compact))
    np.testing.assert_allclose(after.mask_logits, before.mask_logits, atol=0.05)


def test_weights_that_change_in_training_are_used(network: Network, segmenter: Segmenter) -> None:
    before = segmenter.segment(segmenter.encode_image(IMAGE), to_queries(TEXTS))
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.mul_(1.5)
    after = segmenter.segment(segmenter.encode_image(IMAGE), to_queries(TEXTS))
    assert not np.allclose(after.mask_logits, before.mask_logits, atol=1e-3)


def test_threads_share_a_segmenter(segmenter: Segmenter) -> None:
    encoded = segmenter.encode_image(IMAGE)
    expected = segmenter.segment(encoded, to_queries(TEXTS))
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: segmenter.segment(encoded, to_queries(TEXTS)), range(8)):
            np.testing.assert_allclose(found.mask_logits, expected.mask_logits, atol=1e-5)

"""The stored images: bounded in bytes and age, the least used go first, and counts tell what happened."""

from dataclasses import replace

import numpy as np
import pytest

from promptseg import Embedding
from promptseg.segmenter import Arrays
from promptseg.server.core.image_store import ImageStore
from promptseg.server.refusals import RefusedRequest


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Encoded:
    """An encoded image of a known size, to which a part is added on first use."""

    size_hw = (10, 10)

    def __init__(self) -> None:
        self.arrays: Arrays = {"part": np.zeros(700, dtype=np.uint8)}

    def to_arrays(self) -> Arrays:
        return self.arrays


IMAGE = np.zeros((10, 10, 3), dtype=np.uint8)  # 300 bytes


def embedding(fingerprint: str = "f") -> Embedding:
    return Embedding("model", fingerprint, IMAGE.copy(), Encoded())


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> ImageStore:
    return ImageStore(max_bytes=3_000, max_age_s=100, clock=clock)


def test_the_least_used_image_makes_room(store: ImageStore) -> None:
    for name in "abc":
        store.put(name, IMAGE)
        store.keep(name, embedding())
    assert store.counts().num_bytes == 3_000
    store.pixels("a")
    store.put("d", IMAGE)
    assert [name for name in "abcd" if store.holds(name)] == ["a", "c", "d"]
    assert store.counts().evictions == 1 and store.counts().num_bytes == 2_300


def test_the_newest_image_stays_even_if_it_is_too_large(store: ImageStore) -> None:
    store.put("small", IMAGE)
    store.put("large", np.zeros((100, 100, 3), dtype=np.uint8))
    assert not store.holds("small") and store.holds("large")
    store.put("small", IMAGE)
    assert store.holds("small") and not store.holds("large")


def test_what_is_computed_later_is_counted(store: ImageStore) -> None:
    store.put("a", IMAGE)
    store.put("b", IMAGE)
    kept = store.keep("b", embedding())
    assert store.counts().num_bytes == 1_300
    kept.encoded.to_arrays()["sam"] = np.zeros(2_000, dtype=np.uint8)
    store.remeasure("b")
    assert not store.holds("a"), "it no longer fits"
    assert store.counts().num_bytes == 3_000


def test_an_unused_image_is_forgotten(store: ImageStore, clock: Clock) -> None:
    store.put("a", IMAGE)
    store.put("b", IMAGE)
    clock.now = 60
    store.pixels("b")
    clock.now = 120
    store.drop_old()
    assert store.counts().num_images == 1 and store.holds("b")
    clock.now = 161
    with pytest.raises(RefusedRequest, match="no image is stored under the id 'b'"):
        store.pixels("b")
    assert store.counts().num_bytes == 0 and store.counts().evictions == 2


def test_pixels_are_stored_once_for_all_models(store: ImageStore) -> None:
    store.put("a", IMAGE)
    one, other = store.keep("a", embedding("one")), store.keep("a", embedding("two"))
    assert np.shares_memory(one.image_rgb, IMAGE) and np.shares_memory(other.image_rgb, IMAGE)
    assert store.embedding("a", "one") is one and store.embedding("a", "two") is other
    assert store.embedding("a", "three") is None
    assert store.counts().num_bytes == 300 + 2 * 700


def test_an_embedding_whose_image_was_forgotten_meanwhile_is_kept(store: ImageStore) -> None:
    store.put("a", IMAGE)
    store.drop("a")
    kept = store.keep("a", replace(embedding(), source="x"))
    assert store.embedding("a", "f") is kept


def test_names_follow_from_the_content_and_the_key_of_the_store(store: ImageStore) -> None:
    assert store.name(b"one") == store.name(b"one") != store.name(b"two")
    assert ImageStore(max_bytes=1, max_age_s=1).name(b"one") != store.name(b"one")


def test_hits_and_misses_are_counted(store: ImageStore) -> None:
    store.put("a", IMAGE)
    store.pixels("a")
    for _ in range(2):
        with pytest.raises(RefusedRequest):
            store.pixels("b")
    assert (store.counts().hits, store.counts().misses) == (1, 2)

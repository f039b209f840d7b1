"""Training batches from annotated images: wordings, views, masks, and reproducible choices."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from promptseg.data.sample import Sample, Target
from promptseg.errors import DataError
from promptseg.ops.rle import encode_rle
from promptseg.train.samples import PhraseSource, SampleOptions, one_phrase_each

SIZE_HW = (40, 60)


@pytest.fixture
def image() -> np.ndarray:
    image = np.zeros((*SIZE_HW, 3), dtype=np.uint8)
    image[:, :30] = (200, 0, 0)
    image[:, 30:] = (0, 0, 200)
    return image


@pytest.fixture
def sample(image) -> Sample:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    left, right = np.zeros(SIZE_HW, dtype=bool), np.zeros(SIZE_HW, dtype=bool)
    left[:, :30], right[:, 30:] = True, True
    return Sample(
        sample_id="two-halves",
        image=stream.getvalue(),
        size_hw=SIZE_HW,
        targets=(
            Target("the left half", kind="phrase", masks=(encode_rle(left),)),
            Target("the right half", kind="phrase", masks=(encode_rle(right),), score=0.5),
        ),
        absent=("giraffe", "left giraffe"),
    )


def options(**changes: object) -> SampleOptions:
    return SampleOptions(image_hw=(20, 30), mask_hw=(10, 15), num_present=2, num_absent=2, **changes)


def test_item_holds_present_and_absent_phrases_with_their_masks(sample):
    item = PhraseSource([sample], options()).item(0, np.random.default_rng(0))
    assert item.texts == ("the left half", "the right half", "giraffe", "left giraffe")
    assert item.present.tolist() == [True, True, False, False] and item.weight.tolist() == [1.0, 0.5, 1.0, 1.0]
    assert item.target[0, :, :7].min() == 1.0 and item.target[0, :, 8:].max() == 0.0
    assert item.target[2:].max() == 0.0 and item.valid.all()
    assert item.image_rgb.shape == (20, 30, 3)


def test_flipped_items_exchange_left_and_right(sample):
    source = PhraseSource([sample], options(horizontal_flip=1.0))
    plain = PhraseSource([sample], options())
    straight, flipped = (s.item(0, np.random.default_rng(0)) for s in (plain, source))
    assert flipped.texts == ("the right half", "the left half", "giraffe", "right giraffe")
    assert np.array_equal(flipped.image_rgb, straight.image_rgb[:, ::-1])
    # "the left half" of either image is on its left
    assert np.array_equal(flipped.target[1], straight.target[0]), (
        "the left half after the flip is where the left half was"
    )


def test_an_image_is_not_flipped_if_one_of_its_phrases_can_not_be(sample):
    unsure = Sample(**{**vars(sample), "absent": ("lft guy",)})
    item = PhraseSource([unsure], options(horizontal_flip=1.0)).item(0, np.random.default_rng(0))
    assert item.texts[:2] == ("the left half", "the right half")


def test_void_is_not_valid(sample):
    void = np.zeros(SIZE_HW, dtype=bool)
    void[:20] = True
    target = Target("cat", masks=(encode_rle(~void & (np.arange(60) < 30)),), void=(encode_rle(void),))
    item = PhraseSource([Sample("s", sample.image, SIZE_HW, (target,))], options()).item(0, np.random.default_rng(0))
    assert not item.valid[0, :5].any() and item.valid[0, 5:].all()


def test_an_object_outside_a_crop_becomes_absent_and_a_remainder_is_left_out(sample):
    corner = np.zeros(SIZE_HW, dtype=bool)
    corner[:4, :4] = True
    target = Target("cat", masks=(encode_rle(corner),))
    source = PhraseSource([Sample("s", sample.image, SIZE_HW, (target,))], options(crop=0.5))
    seen = [source.item(0, np.random.default_rng(i)) for i in range(60)]
    assert {tuple(item.present.tolist()) for item in seen} == {(True,), (False,), ()}
    for item in seen:
        assert (item.target.sum() > 0) == (True in item.present.tolist())


def test_spatial_phrases_are_never_cropped(sample):
    plain, cropped = PhraseSource([sample], options()), PhraseSource([sample], options(crop=0.5))
    for seed in range(10):
        items = [source.item(0, np.random.default_rng(seed)) for source in (plain, cropped)]
        assert np.array_equal(items[0].target, items[1].target)


def test_names_are_reworded():
    two = (encode_rle(np.eye(8, dtype=bool)), encode_rle(np.eye(8, dtype=bool)[:, ::-1]))
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    sample = Sample("s", stream.getvalue(), (8, 8), (Target("couch", masks=two),))
    source = PhraseSource([sample], SampleOptions(image_hw=(8, 8), mask_hw=(8, 8), reword=1.0))
    texts = {source.item(0, np.random.default_rng(i)).texts[0] for i in range(200)}
    assert {"sofa", "all the sofas", "a photo of a couch"} <= texts and len(texts) > 20
    assert {
        PhraseSource([sample], source.options.plain()).item(0, np.random.default_rng(i)).texts for i in range(9)
    } == {("couch",)}


def test_item_is_a_function_of_its_generator(sample):
    source = PhraseSource([sample], options(horizontal_flip=0.5, jitter=0.3))
    for seed in range(5):
        first, second = (source.item(0, np.random.default_rng(seed)) for _ in range(2))
        assert first.texts == second.texts and np.array_equal(first.image_rgb, second.image_rgb)
    images = {source.item(0, np.random.default_rng(seed)).image_rgb.tobytes() for seed in range(5)}
    assert len(images) == 5


def test_batch_joins_images_and_keeps_count_of_phrases(sample):
    source = PhraseSource([sample, *one_phrase_each([sample])], options(passes=2))
    assert len(source) == 6
    batch = source.collate([source.item(i, np.random.default_rng(0)) for i in range(3)])
    assert batch.images_rgb.shape == (3, 20, 30, 3) and batch.images_rgb.dtype == torch.uint8
    assert batch.image_index.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert batch.target.shape == batch.valid.shape == (10, 10, 15)
    assert batch.sample_ids == ("two-halves",) * 3
    assert batch.to(torch.device("meta")).target.is_meta


def test_source_without_masks_is_refused(sample):
    bare = Sample("s", sample.image, SIZE_HW, (Target("cat"),))
    with pytest.raises(DataError, match="none of 1 images has a mask to train on"):
        PhraseSource([bare], options())

"""From annotated images to batches: words, views, masks, and that every choice can be repeated."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from promptseg.data.sample import Sample, Target
from promptseg.errors import DataError
from promptseg.ops.rle import encode_rle
from promptseg.train.samples import PhraseSource, SampleOptions, one_phrase_each
from promptseg.train.text_flip import mirror_phrase
from promptseg.train.views import View, draw_crop, view_image, view_mask, visible_share

SIZE_HW = (40, 60)


@pytest.mark.parametrize(
    ("phrase", "mirrored"),
    [
        ("left man", "right man"),
        ("the leftmost car on the right-hand side", "the rightmost car on the left-hand side"),
        ("LEFT one", "RIGHT one"),
        ("Right arm of the left player", "Left arm of the right player"),
        ("man on the right in front", "man on the left in front"),
        ("far right behind the desk", "far left behind the desk"),
        ("lefthand door", "righthand door"),
        ("bright upright lamp with leftovers", "bright upright lamp with leftovers"),
        ("the cat", "the cat"),
    ],
)
def test_mirroring_exchanges_sides_and_nothing_else(phrase, mirrored):
    assert mirror_phrase(phrase) == mirrored
    assert mirror_phrase(mirrored) == phrase


@pytest.mark.parametrize(
    "phrase",
    [
        "lft guy",
        "the r one",
        "girl right next to the door",
        "the only piece left",
        "bag left behind",
        "3 o'clock slice",
    ],
)
def test_phrases_that_can_not_be_mirrored_say_so(phrase):
    assert mirror_phrase(phrase) is None


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


def test_mirrored_view_shows_the_mirrored_image_and_mask(image):
    mask = image[..., 0] > 0
    mirrored = View(mirrored=True)
    assert np.array_equal(view_image(image, mirrored, SIZE_HW), image[:, ::-1])
    assert np.array_equal(view_mask(mask, mirrored, SIZE_HW) > 0.5, mask[:, ::-1])


def test_view_of_a_mask_is_the_share_that_it_covers():
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, 0] = mask[2:, 2:] = True
    assert view_mask(mask, View(), (2, 2)).tolist() == [[0.25, 0.0], [0.0, 1.0]]


def test_crop_is_inside_and_shows_its_part_only(image):
    rng = np.random.default_rng(0)
    for _ in range(200):
        x0, y0, x1, y1 = draw_crop(SIZE_HW, 0.4, rng)
        assert 0 <= x0 < x1 <= 60 and 0 <= y0 < y1 <= 40 and x1 - x0 >= 24 and y1 - y0 >= 16
    view = View(crop_xyxy=(0, 0, 30, 40))
    assert (view_image(image, view, (8, 8)) == (200, 0, 0)).all()
    assert visible_share(image[..., 0] > 0, view) == 1.0 and visible_share(image[..., 2] > 0, view) == 0.0


def test_item_holds_present_and_absent_phrases_with_their_masks(sample):
    item = PhraseSource([sample], options()).item(0, np.random.default_rng(0))
    assert item.texts == ("the left half", "the right half", "giraffe", "left giraffe")
    assert item.present.tolist() == [True, True, False, False] and item.weight.tolist() == [1.0, 0.5, 1.0, 1.0]
    assert item.target[0, :, :7].min() == 1.0 and item.target[0, :, 8:].max() == 0.0
    assert item.target[2:].max() == 0.0 and item.valid.all()
    assert item.image_rgb.shape == (20, 30, 3)


def test_mirrored_item_keeps_words_true(sample):
    source = PhraseSource([sample], options(mirror=1.0))
    plain, mirrored = PhraseSource([sample], options()), source
    straight, flipped = (s.item(0, np.random.default_rng(0)) for s in (plain, mirrored))
    assert flipped.texts == ("the right half", "the left half", "giraffe", "right giraffe")
    assert np.array_equal(flipped.image_rgb, straight.image_rgb[:, ::-1])
    # "the left half" of either image is on its left
    assert np.array_equal(flipped.target[1], straight.target[0]), "what is called left now is where left was"


def test_image_is_not_mirrored_where_a_phrase_can_not_be(sample):
    unsure = Sample(**{**vars(sample), "absent": ("lft guy",)})
    item = PhraseSource([unsure], options(mirror=1.0)).item(0, np.random.default_rng(0))
    assert item.texts[:2] == ("the left half", "the right half")


def test_void_is_not_valid(sample):
    void = np.zeros(SIZE_HW, dtype=bool)
    void[:20] = True
    target = Target("cat", masks=(encode_rle(~void & (np.arange(60) < 30)),), void=(encode_rle(void),))
    item = PhraseSource([Sample("s", sample.image, SIZE_HW, (target,))], options()).item(0, np.random.default_rng(0))
    assert not item.valid[0, :5].any() and item.valid[0, 5:].all()


def test_object_outside_a_crop_becomes_absent_and_a_rest_of_it_is_not_asked(sample):
    corner = np.zeros(SIZE_HW, dtype=bool)
    corner[:4, :4] = True
    target = Target("cat", masks=(encode_rle(corner),))
    source = PhraseSource([Sample("s", sample.image, SIZE_HW, (target,))], options(crop=0.5))
    seen = [source.item(0, np.random.default_rng(i)) for i in range(60)]
    assert {tuple(item.present.tolist()) for item in seen} == {(True,), (False,), ()}
    for item in seen:
        assert (item.target.sum() > 0) == (True in item.present.tolist())


def test_phrases_of_place_are_never_cropped(sample):
    plain, cropped = PhraseSource([sample], options()), PhraseSource([sample], options(crop=0.5))
    for seed in range(10):
        items = [source.item(0, np.random.default_rng(seed)) for source in (plain, cropped)]
        assert np.array_equal(items[0].target, items[1].target)


def test_names_are_asked_in_other_words():
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
    source = PhraseSource([sample], options(mirror=0.5, jitter=0.3))
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

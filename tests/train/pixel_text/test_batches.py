"""Pixel-text training data: crops with their maps, and names that are present, absent or unknown in each image."""

import io
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from promptseg.data.sample import Sample, Target
from promptseg.errors import DataError
from promptseg.ops.rle import encode_rle
from promptseg.train.pixel_text.batches import PixelTextSettings, PixelTextSource
from promptseg.train.pixel_text.vocabulary import collect_vocabulary

SIZE_HW = (120, 200)
SETTINGS = PixelTextSettings(side=96, stride=8, reference_side=128, num_random_names=3)


def rectangle(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros(SIZE_HW, dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


CAT = rectangle(20, 30, 90, 100)
LEFT_SHOE = rectangle(120, 60, 180, 110)


def encode(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def painted(mask: np.ndarray) -> np.ndarray:
    """A black image that is white inside a mask."""
    return np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255


def sample(*targets: Target, **changes: object) -> Sample:
    return Sample(
        **{"sample_id": "one", "image": encode(painted(CAT)), "size_hw": SIZE_HW, "targets": targets, **changes}
    )


def source(*samples: Sample, names: tuple[str, ...] = (), **changes: object) -> PixelTextSource:
    options = {"set_weights": {}, "always_included": (), "stuff": (), "num_items": 16, "settings": SETTINGS, **changes}
    return PixelTextSource(samples=samples, vocabulary=collect_vocabulary(samples, names), **options)


def draw_until(crops: PixelTextSource, wanted) -> object:
    """Draw items until one is as wanted."""
    for seed in range(300):
        item = crops.item(0, np.random.default_rng(seed))
        if wanted(item):
            return item
    raise AssertionError("no draw is as wanted")


# Items


def test_item_shows_its_targets_where_they_are() -> None:
    crops = source(sample(Target("cat", masks=(encode_rle(CAT),))), settings=replace(SETTINGS, focus_share=1.0))
    for seed in range(20):
        item = crops.item(0, np.random.default_rng(seed))
        assert item.image_rgb.shape == (96, 96, 3) and item.image_rgb.dtype == np.uint8
        assert item.maps.shape == (1, 12, 12) and item.name_ids == (0,)
        brightness = item.image_rgb.mean(axis=2).reshape(12, 8, 12, 8).mean(axis=(1, 3))
        inside, outside = brightness[item.maps[0] == 1.0], brightness[(item.maps[0] == 0.0) & (item.valid == 1.0)]
        assert not outside.size or inside.min() > outside.max()


def test_item_is_a_function_of_its_generator() -> None:
    crops = source(sample(Target("cat", masks=(encode_rle(CAT),))))
    copy = pickle.loads(pickle.dumps(crops))
    for seed in range(4):
        first, second = (one.item(0, np.random.default_rng(seed)) for one in (crops, copy))
        assert np.array_equal(first.image_rgb, second.image_rgb) and np.array_equal(first.maps, second.maps)
    assert len({crops.item(0, np.random.default_rng(seed)).image_rgb.tobytes() for seed in range(4)}) == 4


def test_names_weigh_as_much_as_their_source() -> None:
    made = Target("dog", masks=(encode_rle(CAT),), alternatives=("puppy",), source="detector+masker")
    human = Target("cat", masks=(encode_rle(CAT),), alternatives=("kitten",))
    crops = source(sample(made, human))
    item = draw_until(crops, lambda item: len(item.name_ids) == 4)
    weights = {
        crops.vocabulary.names[name]: float(weight) for name, weight in zip(item.name_ids, item.weights, strict=True)
    }
    assert weights == pytest.approx({"dog": 0.5, "puppy": 0.15, "cat": 1.0, "kitten": 1.0})


def test_flipped_crops_exchange_left_and_right() -> None:
    shoe = Target("left shoe", masks=(encode_rle(LEFT_SHOE),))
    crops = source(sample(shoe), names=("right shoe",), settings=replace(SETTINGS, focus_share=1.0))
    left, right = crops.vocabulary.find(["left shoe", "right shoe"])
    seen = {
        (item.name_ids, item.mentioned_ids) for item in (crops.item(0, np.random.default_rng(i)) for i in range(20))
    }
    assert seen == {((left,), (left,)), ((right,), (right,))}


def test_void_is_not_valid() -> None:
    void = rectangle(0, 0, 200, 60)
    whole = PixelTextSettings(side=240, stride=8, reference_side=200, zoom=(1.0, 1.0))
    crops = source(sample(Target("cat", masks=(encode_rle(CAT & ~void),), void=(encode_rle(void),))), settings=whole)
    item = crops.item(0, np.random.default_rng(0))
    everything = source(sample(Target("cat", masks=(encode_rle(CAT),))), settings=whole)
    plain = everything.item(0, np.random.default_rng(0))
    assert item.valid.sum() == pytest.approx(plain.valid.sum() / 2, rel=0.2)
    assert (item.maps[0] * item.valid).sum() == pytest.approx(item.maps[0].sum(), rel=0.1)


def test_image_of_one_named_object_is_a_tag() -> None:
    crops = source(sample(Target("cat", alternatives=("kitten",)), single_object=True))
    item = crops.item(0, np.random.default_rng(0))
    assert set(item.tag_ids) == set(crops.vocabulary.find(["cat", "kitten"])) and item.name_ids == ()
    batch = crops.collate([item])
    assert batch.tags.sum() == 2 and not batch.present.any()
    assert not batch.absent[batch.tags].any(), "a tag is not absent"


def test_images_are_drawn_by_the_share_of_their_set() -> None:
    cat = Target("cat", masks=(encode_rle(CAT),))
    rare = sample(cat, sample_id="rare", dataset="rare")
    often = sample(cat, sample_id="often", dataset="often")
    empty = sample(Target("dog"), sample_id="no mask", dataset="often")
    crops = source(rare, often, empty, set_weights={"rare": 1.0, "often": 4.0})
    drawn = [crops.item(0, np.random.default_rng(seed)).sample_id for seed in range(100)]
    assert set(drawn) == {"rare", "often"} and 70 <= drawn.count("often") <= 90


def test_source_without_evidence_is_refused() -> None:
    with pytest.raises(DataError, match="none of 1 images has a mask"):
        source(sample(Target("cat")))
    with pytest.raises(DataError, match="none of 0 images"):
        source()


# Batches


def two_images() -> PixelTextSource:
    return source(
        sample(
            Target("car", masks=(encode_rle(CAT),)),
            sample_id="street",
            exhaustive=frozenset({"car", "person", "sky"}),
        ),
        sample(Target("dog", masks=(encode_rle(CAT),)), Target("left dog", kind="phrase"), sample_id="garden"),
        names=("hood", "taxi", "person", "sky", "grass", "zebra"),
        always_included=("car", "person"),
        stuff=("sky", "grass"),
        settings=replace(SETTINGS, focus_share=1.0, num_random_names=20),
    )


def batch_of(crops: PixelTextSource, sample_ids: tuple[str, ...]):
    """A batch of one crop of each named image; the same crop whatever the order."""
    items = {}
    for seed in range(50):
        item = crops.item(0, np.random.default_rng(seed))
        items.setdefault(item.sample_id, item)
    return crops.collate([items[sample_id] for sample_id in sample_ids])


def test_absence_weighs_as_much_as_the_annotation_supports() -> None:
    crops = two_images()
    batch = batch_of(crops, ("street", "garden"))
    assert [crops.vocabulary.names[i] for i in batch.name_ids] == list(crops.vocabulary.names)
    absent = [dict(zip(crops.vocabulary.names, row.tolist(), strict=True)) for row in batch.absent]
    street, garden = absent
    assert street == pytest.approx({
        "car": 0.0, "dog": 0.4, "grass": 0.0, "hood": 0.0, "person": 1.0, "sky": 1.0, "taxi": 0.0, "zebra": 0.4,
    })  # fmt: skip
    assert garden == pytest.approx({
        "car": 0.4, "dog": 0.0, "grass": 0.0, "hood": 0.4, "person": 0.4, "sky": 0.0, "taxi": 0.4, "zebra": 0.4,
    })  # fmt: skip


def test_unmentioned_names_of_a_partly_named_set_are_unknown() -> None:
    crops = two_images()
    rooms = tuple(replace(one, dataset="rooms") for one in crops.samples)
    batch = batch_of(replace(crops, samples=rooms, partly_named=frozenset({"rooms"})), ("street", "garden"))
    street, garden = (dict(zip(crops.vocabulary.names, row.tolist(), strict=True)) for row in batch.absent)
    assert {name for name, weight in street.items() if weight} == {"person", "sky"}, "complete names"
    assert not any(garden.values())
    assert batch.present.sum(1).tolist() == [1.0, 1.0]


def test_what_is_present_is_never_absent() -> None:
    batch = batch_of(two_images(), ("street", "garden"))
    assert ((batch.present > 0) <= (batch.absent == 0)).all()
    assert (batch.maps[batch.present == 0] == 0).all()
    assert batch.present.sum(1).tolist() == [1.0, 1.0]


def test_order_of_a_batch_is_the_order_of_its_rows() -> None:
    crops = two_images()
    one, other = batch_of(crops, ("street", "garden")), batch_of(crops, ("garden", "street"))
    assert one.sample_ids == ["street", "garden"] and torch.equal(one.name_ids, other.name_ids)
    for name in ("images_rgb", "valid", "maps", "present", "absent", "tags"):
        assert torch.equal(getattr(one, name), getattr(other, name).flip(0)), name


def test_batches_repeat_and_move() -> None:
    crops = two_images()
    few = replace(crops, settings=replace(crops.settings, num_random_names=2))
    first, second = (batch_of(few, ("street", "garden")) for _ in range(2))
    assert torch.equal(first.name_ids, second.name_ids), "the random names are a function of the images"
    asked = {few.vocabulary.names[i] for i in first.name_ids}
    assert {"car", "dog", "person", "sky", "grass"} <= asked
    moved = first.to(torch.device("meta"))
    assert moved.maps.is_meta and moved.tags.is_meta and moved.sample_ids == first.sample_ids

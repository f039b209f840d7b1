"""Dense training data: crops whose pixels and cells agree, and names that are true, false or unknown of each crop."""

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
from promptseg.train.pixel_text.batches import DenseSettings, DenseSource
from promptseg.train.pixel_text.crops import FILL_RGB, Crop, choose_crop
from promptseg.train.pixel_text.vocabulary import Vocabulary, collect_vocabulary

SIZE_HW = (120, 200)
SETTINGS = DenseSettings(side=96, stride=8, reference_side=128, num_random_names=3)


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


def source(*samples: Sample, names: tuple[str, ...] = (), **changes: object) -> DenseSource:
    options = {"set_weights": {}, "always_asked": (), "stuff": (), "num_items": 16, "settings": SETTINGS, **changes}
    return DenseSource(samples=samples, vocabulary=collect_vocabulary(samples, names), **options)


def draw_until(dense: DenseSource, wanted) -> object:
    """Draw items until one is as wanted."""
    for seed in range(300):
        item = dense.item(0, np.random.default_rng(seed))
        if wanted(item):
            return item
    raise AssertionError("no draw is as wanted")


# Crops


@pytest.mark.parametrize("seed", range(12))
def test_pixels_and_cells_of_a_crop_show_the_same(seed: int) -> None:
    rng = np.random.default_rng(seed)
    crop = choose_crop(SIZE_HW, rng, side=96, reference_side=128, zoom=(0.5, 2.0), focus_xy=(55.0, 65.0))
    shares = crop.cut_mask(CAT, 12)
    brightness = np.asarray(crop.cut_image(Image.fromarray(painted(CAT))).convert("L"), np.float32) / 255.0
    in_image = crop.cut_mask(np.ones(SIZE_HW, bool), 12) == 1.0
    seen = brightness.reshape(12, 8, 12, 8).mean(axis=(1, 3))
    assert shares.max() == 1.0 and shares.shape == (12, 12)
    # nine samples to a cell: an edge is known to a sixth of a cell on either axis
    assert seen[shares == 1.0].min() > 0.6
    assert seen[in_image & (shares == 0.0)].max() < 0.25
    assert np.abs(seen - shares)[in_image].mean() < 0.05


def test_crop_is_the_part_of_the_image_that_it_says() -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    crop = Crop((40.0, 16.0, 136.0, 112.0), side=96, flipped=False)
    assert np.array_equal(np.asarray(crop.cut_image(Image.fromarray(image))), image[16:112, 40:136])
    mirrored = replace(crop, flipped=True)
    assert np.array_equal(np.asarray(mirrored.cut_image(Image.fromarray(image))), image[16:112, 40:136][:, ::-1])
    mask = np.random.default_rng(1).random(SIZE_HW) < 0.3
    assert np.array_equal(mirrored.cut_mask(mask, 12), crop.cut_mask(mask, 12)[:, ::-1])
    # cells of three pixels hold exactly one sample a pixel
    small = Crop((40.0, 16.0, 76.0, 52.0), side=36, flipped=False)
    blocks = mask[16:52, 40:76].reshape(12, 3, 12, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small.cut_mask(mask, 12), blocks, atol=1 / 255)


def test_window_beyond_the_image_is_filled_and_not_valid() -> None:
    crop = Crop((-100.0, -40.0, 300.0, 360.0), side=100, flipped=False)
    valid = crop.cut_mask(np.ones(SIZE_HW, bool), 100)
    pixels = np.asarray(crop.cut_image(Image.new("RGB", SIZE_HW[::-1], "white")))
    assert np.array_equal(valid > 0, rectangle_of(100, 25, 10, 75, 40))
    assert (pixels[valid == 0.0] == FILL_RGB).all() and (pixels[valid == 1.0] == 255).all()


def rectangle_of(side: int, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    mask = np.zeros((side, side), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def test_windows_stay_in_the_image_or_hold_all_of_it() -> None:
    rng = np.random.default_rng(0)
    flips = 0
    for _ in range(300):
        focus_xy = (rng.uniform(0, 200), rng.uniform(0, 120))
        crop = choose_crop(SIZE_HW, rng, side=96, reference_side=128, zoom=(0.5, 2.0), focus_xy=focus_xy)
        x0, y0, x1, y1 = crop.box_xyxy
        assert x0 <= focus_xy[0] <= x1 and y0 <= focus_xy[1] <= y1
        for low, high, full in ((x0, x1, 200), (y0, y1, 120)):
            assert (low >= 0 and high <= full + 1e-6) or (low <= 0 and high >= full - 1e-6)
        magnification = 96 / ((x1 - x0) * (y1 - y0)) ** 0.5 * 200 / 128
        assert 0.5 - 1e-6 <= magnification <= 2.0 + 1e-6
        flips += crop.flipped
    assert 100 < flips < 200


# Vocabulary


def test_vocabulary_has_every_name_once_and_no_phrases() -> None:
    vocabulary = collect_vocabulary(
        [
            sample(Target("Traffic_Light"), Target("left man in red", kind="phrase")),
            sample(Target("sky", kind="stuff", alternatives=("blue sky",))),
        ],
        extra=("sky", "Zebra"),
    )
    assert vocabulary.names == ("blue sky", "sky", "traffic light", "zebra")
    assert vocabulary.find(["ZEBRA", "unicorn", "sky"]) == [3, 1]


def test_names_that_may_be_true_of_one_pixel_are_unsure() -> None:
    names = ("car", "cat", "dog", "hood", "sports car", "taxi", "toy car", "vehicle")
    vocabulary = Vocabulary(names)
    unsure = np.array([vocabulary.unsure_of(index) for index in range(len(names))])
    assert unsure.diagonal().all() and np.array_equal(unsure, unsure.T)
    of_car = {name for name, flag in zip(names, unsure[0], strict=True) if flag}
    assert of_car == {"car", "hood", "sports car", "taxi", "toy car", "vehicle"}
    assert unsure[4, 6], "a sports car may be a toy car"
    assert not unsure[1, 2]


# Items


def test_item_shows_its_targets_where_they_are() -> None:
    dense = source(sample(Target("cat", masks=(encode_rle(CAT),))), settings=replace(SETTINGS, focus_share=1.0))
    for seed in range(20):
        item = dense.item(0, np.random.default_rng(seed))
        assert item.pixels.shape == (3, 96, 96) and item.pixels.dtype == np.float32
        assert item.maps.shape == (1, 12, 12) and item.name_ids == (0,)
        brightness = item.pixels.mean(axis=0).reshape(12, 8, 12, 8).mean(axis=(1, 3))
        inside, outside = brightness[item.maps[0] == 1.0], brightness[(item.maps[0] == 0.0) & (item.valid == 1.0)]
        assert not outside.size or inside.min() > outside.max()


def test_item_is_a_function_of_its_generator() -> None:
    dense = source(sample(Target("cat", masks=(encode_rle(CAT),))))
    copy = pickle.loads(pickle.dumps(dense))
    for seed in range(4):
        first, second = (one.item(0, np.random.default_rng(seed)) for one in (dense, copy))
        assert np.array_equal(first.pixels, second.pixels) and np.array_equal(first.maps, second.maps)
    assert len({dense.item(0, np.random.default_rng(seed)).pixels.tobytes() for seed in range(4)}) == 4


def test_names_weigh_as_much_as_who_gave_them() -> None:
    made = Target("dog", masks=(encode_rle(CAT),), alternatives=("puppy",), source="detector+masker")
    human = Target("cat", masks=(encode_rle(CAT),), alternatives=("kitten",))
    dense = source(sample(made, human))
    item = draw_until(dense, lambda item: len(item.name_ids) == 4)
    weights = {
        dense.vocabulary.names[name]: float(weight) for name, weight in zip(item.name_ids, item.weights, strict=True)
    }
    assert weights == pytest.approx({"dog": 0.5, "puppy": 0.15, "cat": 1.0, "kitten": 1.0})


def test_mirrored_crops_exchange_left_and_right() -> None:
    shoe = Target("left shoe", masks=(encode_rle(LEFT_SHOE),))
    dense = source(sample(shoe), names=("right shoe",), settings=replace(SETTINGS, focus_share=1.0))
    left, right = dense.vocabulary.find(["left shoe", "right shoe"])
    seen = {
        (item.name_ids, item.mentioned_ids) for item in (dense.item(0, np.random.default_rng(i)) for i in range(20))
    }
    assert seen == {((left,), (left,)), ((right,), (right,))}


def test_void_is_not_valid() -> None:
    void = rectangle(0, 0, 200, 60)
    whole = DenseSettings(side=240, stride=8, reference_side=200, zoom=(1.0, 1.0))
    dense = source(sample(Target("cat", masks=(encode_rle(CAT & ~void),), void=(encode_rle(void),))), settings=whole)
    item = dense.item(0, np.random.default_rng(0))
    everything = source(sample(Target("cat", masks=(encode_rle(CAT),))), settings=whole)
    plain = everything.item(0, np.random.default_rng(0))
    assert item.valid.sum() == pytest.approx(plain.valid.sum() / 2, rel=0.2)
    assert (item.maps[0] * item.valid).sum() == pytest.approx(item.maps[0].sum(), rel=0.1)


def test_image_of_one_named_object_is_a_tag() -> None:
    dense = source(sample(Target("cat", alternatives=("kitten",)), single_object=True))
    item = dense.item(0, np.random.default_rng(0))
    assert set(item.tag_ids) == set(dense.vocabulary.find(["cat", "kitten"])) and item.name_ids == ()
    batch = dense.collate([item])
    assert batch.tags.sum() == 2 and not batch.present.any()
    assert not batch.absent[batch.tags].any(), "what is there is not absent"


def test_images_are_drawn_by_the_share_of_their_set() -> None:
    cat = Target("cat", masks=(encode_rle(CAT),))
    rare = sample(cat, sample_id="rare", dataset="rare")
    often = sample(cat, sample_id="often", dataset="often")
    empty = sample(Target("dog"), sample_id="says nothing of its cells", dataset="often")
    dense = source(rare, often, empty, set_weights={"rare": 1.0, "often": 4.0})
    drawn = [dense.item(0, np.random.default_rng(seed)).sample_id for seed in range(100)]
    assert set(drawn) == {"rare", "often"} and 70 <= drawn.count("often") <= 90


def test_source_without_evidence_is_refused() -> None:
    with pytest.raises(DataError, match="none of 1 images has a mask"):
        source(sample(Target("cat")))
    with pytest.raises(DataError, match="none of 0 images"):
        source()


# Batches


def two_images() -> DenseSource:
    return source(
        sample(
            Target("car", masks=(encode_rle(CAT),)),
            sample_id="street",
            exhaustive=frozenset({"car", "person", "sky"}),
        ),
        sample(Target("dog", masks=(encode_rle(CAT),)), Target("left dog", kind="phrase"), sample_id="garden"),
        names=("hood", "taxi", "person", "sky", "grass", "zebra"),
        always_asked=("car", "person"),
        stuff=("sky", "grass"),
        settings=replace(SETTINGS, focus_share=1.0, num_random_names=20),
    )


def batch_of(dense: DenseSource, sample_ids: tuple[str, ...]):
    """A batch of one crop of each named image; the same crop whatever the order."""
    items = {}
    for seed in range(50):
        item = dense.item(0, np.random.default_rng(seed))
        items.setdefault(item.sample_id, item)
    return dense.collate([items[sample_id] for sample_id in sample_ids])


def test_absence_is_believed_where_it_is_said() -> None:
    dense = two_images()
    batch = batch_of(dense, ("street", "garden"))
    assert [dense.vocabulary.names[i] for i in batch.name_ids] == list(dense.vocabulary.names)  # there are few of them
    absent = [dict(zip(dense.vocabulary.names, row.tolist(), strict=True)) for row in batch.absent]
    street, garden = absent
    assert street == pytest.approx({
        "car": 0.0, "dog": 0.4, "grass": 0.0, "hood": 0.0, "person": 1.0, "sky": 1.0, "taxi": 0.0, "zebra": 0.4,
    })  # fmt: skip
    assert garden == pytest.approx({
        "car": 0.4, "dog": 0.0, "grass": 0.0, "hood": 0.4, "person": 0.4, "sky": 0.0, "taxi": 0.4, "zebra": 0.4,
    })  # fmt: skip


def test_silence_of_a_partly_named_set_says_nothing() -> None:
    dense = two_images()
    rooms = tuple(replace(one, dataset="rooms") for one in dense.samples)
    batch = batch_of(replace(dense, samples=rooms, partly_named=frozenset({"rooms"})), ("street", "garden"))
    street, garden = (dict(zip(dense.vocabulary.names, row.tolist(), strict=True)) for row in batch.absent)
    assert {name for name, weight in street.items() if weight} == {"person", "sky"}, "what people looked for"
    assert not any(garden.values())
    assert batch.present.sum(1).tolist() == [1.0, 1.0]


def test_what_is_present_is_never_absent() -> None:
    batch = batch_of(two_images(), ("street", "garden"))
    assert ((batch.present > 0) <= (batch.absent == 0)).all()
    assert (batch.maps[batch.present == 0] == 0).all()
    assert batch.present.sum(1).tolist() == [1.0, 1.0]


def test_order_of_a_batch_is_the_order_of_its_rows() -> None:
    dense = two_images()
    one, other = batch_of(dense, ("street", "garden")), batch_of(dense, ("garden", "street"))
    assert one.sample_ids == ["street", "garden"] and torch.equal(one.name_ids, other.name_ids)
    for name in ("pixels", "valid", "maps", "present", "absent", "tags"):
        assert torch.equal(getattr(one, name), getattr(other, name).flip(0)), name


def test_batches_repeat_and_move() -> None:
    dense = two_images()
    few = replace(dense, settings=replace(dense.settings, num_random_names=2))
    first, second = (batch_of(few, ("street", "garden")) for _ in range(2))
    assert torch.equal(first.name_ids, second.name_ids), "the random names are a function of the images"
    asked = {few.vocabulary.names[i] for i in first.name_ids}
    assert {"car", "dog", "person", "sky", "grass"} <= asked
    moved = first.to(torch.device("meta"))
    assert moved.maps.is_meta and moved.tags.is_meta and moved.sample_ids == first.sample_ids

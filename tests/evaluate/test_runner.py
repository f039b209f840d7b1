"""The evaluator from images to numbers, on a world small enough to count by hand."""

import math

import numpy as np
import pytest
from evaluate_world import ColorSegmenter, block, paint

from promptseg.data.sample import Sample, Target
from promptseg.errors import CheckpointError
from promptseg.evaluate.accumulator import MetricAccumulator
from promptseg.evaluate.labeled_queries import build_labeled_queries
from promptseg.evaluate.records import ImageRecord
from promptseg.evaluate.runner import evaluate_samples
from promptseg.ops.rle import encode_rle


def target(phrase, *masks, **fields):
    return Target(phrase, masks=tuple(encode_rle(mask) for mask in masks), **fields)


@pytest.fixture
def samples(tmp_path):
    """Two images.

    A: red is 50 pixels, 40 of them painted red: IoU .8, presence .8.
       Green is said to be absent, but 18 pixels are green: presence .36, wrongly kept.
    B: green is 10 pixels, 20 painted: IoU .5, presence .4.
       Blue is 12 pixels, all painted: IoU 1, but presence .24, wrongly rejected.
       Red is absent: presence 0, rejected.
    """
    a = paint(tmp_path / "a.png", {"red": block(0, 0, 10, 4), "green": block(0, 8, 9, 10)})
    b = paint(tmp_path / "b.png", {"green": block(0, 0, 2, 10), "blue": block(5, 0, 7, 6)})
    return [
        Sample("a.png", a, (10, 10), (target("red", block(0, 0, 10, 5)),), absent=("green",)),
        Sample(
            "b.png",
            b,
            (10, 10),
            (target("green", block(0, 0, 1, 10)), target("blue", block(5, 0, 7, 3), block(5, 3, 7, 6), kind="stuff")),
            absent=("red",),
        ),
    ]


def evaluate(samples, **options):
    return list(evaluate_samples(ColorSegmenter(), samples, **options))


def numbers(records):
    accumulator = MetricAccumulator(num_resamples=50)
    for record in records:
        accumulator.update(record)
    return dict(accumulator.compute())


def test_numbers_are_those_counted_by_hand(samples):
    measured = numbers(evaluate(samples))
    expected = {
        "mean_iou": (0.8 + 0.5 + 1) / 3,
        "mean_iou_gated": (0.8 + 0.5 + 0) / 3,
        "median_iou": 0.8,
        "median_iou_gated": 0.5,
        "cumulative_iou": (40 + 10 + 12) / (50 + 20 + 12),
        "cumulative_iou_gated": (40 + 10 + 0) / (50 + 20 + 12),
        "iou_at_50": 1,
        "iou_at_70": 2 / 3,
        "iou_at_90": 1 / 3,
        "iou_at_90_gated": 0,
        "precision": (1 + 0.5 + 1) / 3,
        "precision_gated": (1 + 0.5) / 2,
        "recall": (0.8 + 1 + 1) / 3,
        "recall_gated": (0.8 + 1 + 0) / 3,
        "dice": (80 / 90 + 20 / 30 + 1) / 3,
        # Red: 40 true pixels first, then 60 with 10 true ones as ties. Green: 10 of 20 first. Blue: perfect.
        "average_precision": (0.8 * 1 + 0.2 * 0.5 + 0.5 + 1) / 3,
        "mean_iou_of_everything": (0.5 + 0.1 + 0.12) / 3,
        "mean_iou/thing": (0.8 + 0.5) / 2,
        "mean_iou/stuff": 1,
        "mean_iou/large": (0.8 + 0.5 + 1) / 3,
        "mean_iou/name/red": 0.8,
        "mean_iou_over_names": (0.8 + 0.5 + 1) / 3,
        "present_kept": 2 / 3,
        "present_kept/stuff": 0,
        "absent_rejected": 1 / 2,
        "presence_auroc": 5 / 6,
        "presence_auroc/thing": 1,
    }
    assert {name: measured[name].value for name in expected} == pytest.approx(expected)
    assert (measured["precision_gated"].count, measured["precision_gated"].undefined) == (2, 1)
    assert (measured["mean_iou"].count, measured["absent_rejected"].count) == (3, 2)
    assert not {"mean_iou/part", "mean_iou/small", "class_mean_iou", "mean_iou_over_sequences"} & set(measured)


def test_numbers_lie_inside_their_intervals_and_do_not_depend_on_the_order(samples):
    records = evaluate(samples)
    measured, turned = numbers(records), numbers(records[::-1])
    for name, number in measured.items():
        assert turned[name].value == pytest.approx(number.value, nan_ok=True), name
        if not math.isnan(number.low):
            assert number.low <= number.value + 1e-12 and number.value <= number.high + 1e-12, name


def test_ignored_pixels_do_not_count(samples, tmp_path):
    crowd = encode_rle(block(0, 4, 10, 10))
    red = target("red", block(0, 0, 10, 4), void=(crowd,))
    record = evaluate([Sample("a.png", samples[0].image, (10, 10), (red,))])[0]
    assert record.pairs[0].counts.iou == 1
    assert record.pairs[0].counts.valid == 40


def test_a_phrase_without_a_mask_or_wholly_ignored_is_not_asked():
    box = Target("cat", boxes_xyxy=((0, 0, 4, 4),))
    tag = Target("dog")
    crowd = Target("person", void=(encode_rle(block(0, 0, 5, 5)),))
    assert build_labeled_queries(Sample("x", b"", (10, 10), (box, tag, crowd))) == ()


def test_class_iou_labels_every_pixel_and_ignores_unlabeled_ones(tmp_path):
    image = paint(
        tmp_path / "c.png", {"red": block(0, 0, 10, 4), "green": block(0, 4, 10, 9), "blue": block(0, 9, 9, 10)}
    )
    # Truth: red 5 columns, green 3; the last two columns are nothing. Blue is asked but nowhere.
    sample = Sample("c.png", image, (10, 10), (target("red", block(0, 0, 10, 5)), target("green", block(0, 5, 10, 8))))
    measured = numbers(evaluate([sample], class_names=("red", "green", "blue")))
    assert measured["class_iou/red"].value == 40 / 50
    assert measured["class_iou/green"].value == 30 / 40
    assert math.isnan(measured["class_iou/blue"].value), "neither predicted nor true where it counts"
    assert measured["class_mean_iou"].value == pytest.approx((0.8 + 0.75) / 2)
    assert measured["pixel_accuracy"].value == 70 / 80
    assert measured["absent_rejected"].value == 1, "blue is asked, absent, and has 9 pixels: presence .18"


def test_class_iou_gated_leaves_pixels_of_rejected_names_unassigned(tmp_path):
    image = paint(tmp_path / "d.png", {"red": block(0, 0, 1, 10), "green": block(1, 0, 10, 10)})
    sample = Sample("d.png", image, (10, 10), (target("red", block(0, 0, 1, 10)), target("green", block(1, 0, 10, 10))))
    measured = numbers(evaluate([sample], class_names=("red", "green")))
    assert (measured["class_mean_iou"].value, measured["class_mean_iou_gated"].value) == (1, 0.5)
    assert measured["pixel_accuracy_gated"].value == 0.9


def test_videos_count_once_each_and_are_drawn_as_one(tmp_path):
    full = paint(tmp_path / "full.png", {"red": block(0, 0, 10, 10)})
    half, whole = target("red", block(0, 0, 5, 10)), target("red", block(0, 0, 10, 10))
    frames = [Sample(f"long/{index}", full, (10, 10), (whole,), sequence="long") for index in range(8)]
    frames += [Sample(f"short/{index}", full, (10, 10), (half,), sequence="short") for index in range(2)]
    measured = numbers(evaluate(frames))
    assert measured["mean_iou"].value == 0.9
    assert measured["mean_iou_over_sequences"].value == 0.75
    assert measured["mean_iou/sequence/short"].value == 0.5
    assert (measured["mean_iou_over_sequences"].low, measured["mean_iou_over_sequences"].high) == (0.5, 1.0)


def test_a_broken_image_is_named_and_the_rest_is_done(samples, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"not an image")
    broken = Sample("broken.png", tmp_path / "broken.png", (10, 10), samples[0].targets)
    missing = Sample("missing.png", tmp_path / "missing.png", (10, 10), samples[0].targets)
    resized = Sample(
        "resized.png", samples[0].image, (5, 5), (Target("red", masks=(encode_rle(np.ones((5, 5), bool)),)),)
    )
    records = evaluate([broken, samples[0], missing, resized])
    assert [record.error is None for record in records] == [False, True, False, False]
    assert records[0].error.startswith("ImageError: ") and "broken.png" in records[0].error
    assert "missing.png" in records[2].error
    assert records[3].error.startswith("DataError: the image is (10, 10) (height, width), its annotation (5, 5)")
    assert numbers(records)["mean_iou"].count == 1


def test_a_broken_model_is_not_blamed_on_the_images(samples):
    class DamagedSegmenter(ColorSegmenter):
        def segment(self, embedding, phrases):
            raise CheckpointError("its weights are damaged")

    with pytest.raises(CheckpointError):
        list(evaluate_samples(DamagedSegmenter(), samples))


def test_no_image_gives_no_number():
    assert numbers([]) == {}
    assert numbers([ImageRecord("x", error="ImageError: broken")]) == {}

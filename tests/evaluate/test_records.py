"""Records: they survive their file, and an interrupted run continues from them."""

import json

import pytest
from evaluate_world import ColorSegmenter, block, paint

from promptseg.data.sample import Sample, Target
from promptseg.errors import DataError
from promptseg.evaluate.records import ImageRecord, from_json_line, keep_records, load_done, read_records, to_json_line
from promptseg.evaluate.runner import evaluate_samples
from promptseg.ops.rle import encode_rle


@pytest.fixture
def samples(tmp_path):
    """Two images: red is half of the first and a tenth of the second, where blue is absent."""
    areas = {"a.png": block(0, 0, 10, 5), "b.png": block(0, 0, 1, 10)}
    return [
        Sample(
            name,
            paint(tmp_path / name, {"red": area}),
            (10, 10),
            (Target("red", masks=(encode_rle(area),)),),
            absent=("blue",) if name == "b.png" else (),
        )
        for name, area in areas.items()
    ]


def evaluate(samples, **options):
    return list(evaluate_samples(ColorSegmenter(), samples, **options))


def test_records_survive_their_file(samples, tmp_path):
    classes = evaluate(samples, class_names=("red", "green", "blue"))
    failed = ImageRecord("é.png", error="ImageError: broken")
    for record in (*evaluate(samples), *classes, failed):
        line = to_json_line(record)
        assert "\n" not in line and "NaN" not in line
        # repr, since nan is not equal to itself
        assert repr(from_json_line(line)) == repr(record)


def test_a_broken_off_run_continues_where_it_was(samples, tmp_path):
    path = tmp_path / "records.jsonl"
    list(keep_records(evaluate(samples[:1], run_id="model 1"), path, done={}))
    with path.open("a") as file:
        file.write('{"sample_id": "b.png", "pai')

    encoded = []

    class WatchedSegmenter(ColorSegmenter):
        def encode(self, image):
            encoded.append(image.name)
            return super().encode(image)

    done = load_done(path)
    resumed = evaluate_samples(WatchedSegmenter(), samples, run_id="model 1", done=done)
    records = list(keep_records(resumed, path, done=done))
    assert encoded == ["b.png"]
    assert [record.sample_id for record in read_records(path)] == ["a.png", "b.png"]
    assert [pair.counts.iou for record in records for pair in record.pairs if pair.present] == [1, 1]
    encoded.clear()
    list(evaluate_samples(WatchedSegmenter(), samples, run_id="model 2", done=load_done(path)))
    assert encoded == ["a.png", "b.png"], "another model is asked again"


def test_a_run_that_breaks_off_keeps_what_it_had(samples, tmp_path):
    path = tmp_path / "records.jsonl"
    stream = keep_records(evaluate_samples(ColorSegmenter(), samples), path, done={})
    next(stream), next(stream)
    assert [record.sample_id for record in read_records(path)] == ["a.png", "b.png"], "before the run has ended"


def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_text('{"image": "x"}\n')
    with pytest.raises(DataError, match="line 1: not a record of an evaluation"):
        load_done(path)


def test_records_of_version_0_1_are_read(samples):
    (record, *_) = evaluate(samples, run_id="model 1")
    values = json.loads(to_json_line(record))
    values["asked"] = values.pop("run_id")
    assert from_json_line(json.dumps(values)).run_id == "model 1"

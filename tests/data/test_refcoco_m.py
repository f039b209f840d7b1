import doctest
import io

import pytest
from data_trees import box_rle
from PIL import Image

from promptseg.data import refcoco_m
from promptseg.data.refcoco_m import read_refcoco_m, split_of
from promptseg.errors import DataError

pyarrow = pytest.importorskip("pyarrow", reason="reading Parquet needs promptseg[train]")
parquet = pytest.importorskip("pyarrow.parquet", reason="reading Parquet needs promptseg[train]")

SIZE_HW = (24, 32)

# The publishers' column types, of the data set card.
SCHEMA = pyarrow.schema(
    {
        "image": pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()}),
        "image_id": pyarrow.int64(),
        "file_name": pyarrow.string(),
        "samples": pyarrow.list_(
            pyarrow.struct(
                {
                    "id": pyarrow.int64(),
                    "image_id": pyarrow.int64(),
                    "category": pyarrow.string(),
                    "supercategory": pyarrow.string(),
                    "label": pyarrow.string(),
                    "sentences": pyarrow.list_(pyarrow.string()),
                    "bbox": pyarrow.list_(pyarrow.float32()),
                    "mask": pyarrow.struct({"counts": pyarrow.string(), "size": pyarrow.list_(pyarrow.int32())}),
                }
            )
        ),
    }
)


def image_bytes():
    file = io.BytesIO()
    Image.new("RGB", SIZE_HW[::-1], "teal").save(file, "JPEG")
    return file.getvalue()


def annotation(number, sentences, rle):
    return {
        "id": number,
        "image_id": 0,
        "category": "person",
        "supercategory": "person",
        "label": "person",
        "sentences": sentences,
        "bbox": [0.0, 0.0, 4.0, 4.0],
        "mask": rle,
    }


def row(image_id, *annotations, image=None):
    return {
        "image": {"bytes": image or image_bytes(), "path": None},
        "image_id": image_id,
        "file_name": f"COCO_train2014_{image_id:012d}.jpg",
        "samples": list(annotations),
    }


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows), SCHEMA), path)
    return path


def test_every_sentence_is_a_target(tmp_path):
    left, right = box_rle(0, 0, 4, 4), box_rle(20, 0, 28, 8)
    path = write(
        tmp_path / "validation-00000-of-00001.parquet",
        row(17, annotation(1, ["Man on left", "left guy"], left), annotation(2, ["right guy"], right)),
    )
    (sample,) = read_refcoco_m(path)
    assert [(target.phrase, target.masks, target.kind) for target in sample.targets] == [
        ("man on left", (left,), "phrase"),
        ("left guy", (left,), "phrase"),
        ("right guy", (right,), "phrase"),
    ]
    assert (sample.sample_id, sample.coco_id, sample.size_hw) == ("refcoco_m/17", 17, SIZE_HW)
    assert Image.open(io.BytesIO(sample.image)).size == SIZE_HW[::-1]
    assert sample.exhaustive == frozenset()


def test_the_splits_of_a_directory_are_disjoint_and_whole(tmp_path):
    rows = [row(number, annotation(number, ["a"], box_rle(0, 0, 4, 4))) for number in range(1, 31)]
    write(tmp_path / "data/validation-00000.parquet", *rows[:11])
    write(tmp_path / "data/validation-00001.parquet", *rows[11:])
    splits = {
        split: {sample.coco_id for sample in read_refcoco_m(tmp_path, split)} for split in ("train", "val", "test")
    }
    assert sorted(number for ids in splits.values() for number in ids) == list(range(1, 31))
    assert splits["val"] == {17, 18, 30}
    assert len(read_refcoco_m(tmp_path)) == 30


def test_the_split_is_fixed_and_four_fifths_train():
    shares = [split_of(number) for number in range(5000)]
    assert [shares.count(split) / 5000 for split in ("train", "val", "test")] == pytest.approx(
        [0.8, 0.1, 0.1], abs=0.02
    )
    assert {split: shares.index(split) for split in ("train", "val", "test")} == {"train": 0, "val": 17, "test": 12}


def test_masks_of_another_size_and_broken_images_are_named(tmp_path):
    wrong = annotation(7, ["too small"], box_rle(0, 0, 4, 4, (10, 10)))
    good = annotation(8, ["fine"], box_rle(0, 0, 4, 4))
    path = write(tmp_path / "a.parquet", row(17, wrong, good), row(18, good, image=b"no image"))
    samples = read_refcoco_m(path)
    assert [target.phrase for target in samples[0].targets] == ["fine"]
    first, second = map(str, samples.problems)
    assert first == f"{path}, row 1: mask 7 of COCO_train2014_000000000017.jpg is (10, 10), the image (24, 32)"
    assert second.startswith(f"{path}, row 2: ")


def test_what_is_not_refcoco_m_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no Parquet file"):
        read_refcoco_m(tmp_path)
    (tmp_path / "text.parquet").write_text("hello")
    with pytest.raises(DataError, match=r"text.parquet: not a Parquet file"):
        read_refcoco_m(tmp_path / "text.parquet")
    other = tmp_path / "other.parquet"
    parquet.write_table(pyarrow.table({"image": [1], "label": [2]}), other)
    with pytest.raises(DataError, match="no column image_id, file_name, samples; has image, label"):
        read_refcoco_m(other)
    only_train = write(tmp_path / "b.parquet", row(11, annotation(1, ["a"], box_rle(0, 0, 4, 4))))
    with pytest.raises(DataError, match="no image of split val"):
        read_refcoco_m(only_train, "val")


def test_the_example_of_the_documentation_holds():
    outcome = doctest.testmod(refcoco_m)
    assert (outcome.attempted, outcome.failed) == (1, 0)

"""Reader of RefCOCO-M, referring phrases with precise masks, in the Parquet layout of its publishers.

    image {bytes, path}, image_id, file_name,
    samples [{id, image_id, category, supercategory, label, sentences [text], bbox [x, y, w, h],
              mask {counts, size [h, w]}}]

Source:
    RefCOCO-M, Moondream 2025 (MIT; images under COCO terms): RefCOCO's validation images with new masks, one split.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from promptseg._extras import require
from promptseg.data.jsonl import Line
from promptseg.data.merge_annotations import TargetAssembler
from promptseg.data.sample import Problem, Sample, SampleSet
from promptseg.errors import DataError, ImageError
from promptseg.images import read_image
from promptseg.ops.rle import Rle, check_rle

Split = Literal["train", "val", "test"]

COLUMNS = ("image", "image_id", "file_name", "samples")
LICENCE = "annotations MIT; images under Flickr/COCO terms"

_SPLIT_OF_TENTH: tuple[Split, ...] = ("train",) * 8 + ("val", "test")

# Rows decoded at a time: their images are about half a megabyte each.
_BATCH_ROWS = 32


def split_of(image_id: int) -> Split:
    """Return the split of an image: 80 % train, 10 % val, 10 % test.

    The publishers have only one split, so ours is a function of the id: the first eight bytes of
    sha256("refcoco-m:ID"), modulo 10, are 0-7 for train, 8 for val and 9 for test. The splits are therefore the same on
    every machine.

    Example:
        >>> split_of(11), split_of(17), split_of(12)
        ('train', 'val', 'test')
    """
    digest = hashlib.sha256(f"refcoco-m:{image_id}".encode()).digest()
    return _SPLIT_OF_TENTH[int.from_bytes(digest[:8], "big") % 10]


def read_refcoco_m(path: Path, split: Split | None = None) -> SampleSet:
    """Read RefCOCO-M.

    Every sentence is a separate target, as in the publishers' evaluation: (image, sentence) is one example.

    Args:
        path: A Parquet file, or a directory of them.
        split: Split to read; `None`: all images.

    Returns:
        The samples, with the encoded images in memory, and everything that was left out.

    Raises:
        DataError: There is no such file, it is not Parquet, or it lacks a column.
        MissingExtraError: pyarrow is not installed.
    """
    problems: list[Problem] = []
    samples = []
    for line in _rows(path):
        if split is None or split_of(line.require(line.record, "image_id", int)) == split:
            sample = _read_sample(line, problems)
            samples += [sample] if sample else []
    if not samples:
        raise DataError(f"{path}: no image{f' of split {split}' if split else ''}")
    return SampleSet(tuple(samples), tuple(problems))


def _rows(path: Path) -> Iterator[Line]:
    parquet, arrow = require("pyarrow.parquet", extra="train"), require("pyarrow", extra="train")
    files = sorted(path.glob("**/*.parquet")) if path.is_dir() else [path]
    if not files or not all(file.is_file() for file in files):
        raise DataError(f"{path}: no Parquet file; RefCOCO-M has data/validation-*.parquet")
    for file in files:
        try:
            table = parquet.ParquetFile(file)
        except (OSError, ValueError, arrow.ArrowException) as error:
            raise DataError(f"{file}: not a Parquet file ({error})") from error
        missing = [column for column in COLUMNS if column not in table.schema_arrow.names]
        if missing:
            raise DataError(f"{file}: no column {', '.join(missing)}; has {', '.join(table.schema_arrow.names)}")
        number = 0
        batches = table.iter_batches(batch_size=_BATCH_ROWS, columns=list(COLUMNS))
        while True:
            try:
                rows = next(batches).to_pylist()
            except StopIteration:
                break
            except (OSError, ValueError, arrow.ArrowException) as error:
                raise DataError(f"{file}: damaged after row {number} ({error})") from error
            for row in rows:
                number += 1
                yield Line(f"{file}, row {number}", row)


def _read_sample(line: Line, problems: list[Problem]) -> Sample | None:
    row, where = line.record, line.where
    image = line.require(line.require(row, "image", dict), "bytes", bytes)
    name = line.require(row, "file_name", str)
    try:
        height, width = read_image(image).shape[:2]
    except ImageError as error:
        problems.append(Problem(where, str(error)))
        return None
    assembler = TargetAssembler((height, width))
    for annotation in line.objects("samples"):
        mask = line.require(annotation, "mask", dict)
        rle = Rle(size=list(line.require(mask, "size", list)), counts=line.require(mask, "counts", str))
        if rle["size"] != [height, width]:
            what = f"mask {annotation.get('id')} of {name} is {tuple(rle['size'])}, the image {(height, width)}"
            problems.append(Problem(where, what))
            continue
        try:
            check_rle(rle)
        except ValueError as error:
            raise DataError(f"{where}: mask {annotation.get('id')}: {error}") from error
        for sentence in Line(where, annotation).texts("sentences"):
            assembler.add_mask(sentence, rle, kind="phrase")
    return Sample(
        sample_id=f"refcoco_m/{row['image_id']}",
        image=image,
        size_hw=(height, width),
        targets=assembler.targets(),
        dataset="refcoco_m",
        license=LICENCE,
        coco_id=row["image_id"],
    )

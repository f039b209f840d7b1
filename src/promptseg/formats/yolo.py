"""Ultralytics' YOLO segmentation layout: `images/`, `labels/` and `data.yaml`.

Each line is one object: `class x1 y1 x2 y2 ...`, corners as shares of width and height. The format has one ring for
each object, so holes and parts are joined by lines of zero width. `train` and `val` in data.yaml both name `images`;
split the data set as you need.
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from promptseg.errors import DataError
from promptseg.formats.annotation import Annotation
from promptseg.formats.base import (
    DataSet,
    DataSetImage,
    Format,
    find_files,
    read_size,
    read_text,
    reading,
    write_text,
)
from promptseg.ops.polygons import TOLERANCE, fill_rings, join_parts, smooth_polygons
from promptseg.results import Instance

# Ultralytics reads corners that are outside by this share, and refuses others.
_OUTSIDE = 0.01
_NAME_LINE = re.compile(r"  (\d+): (\".*\")")


def write_image(
    directory: Path,
    annotation: Annotation,
    classes: Sequence[str],
    image: DataSetImage,
    *,
    tolerance: float = 0.0,
) -> None:
    """Write the labels of one image; an image without objects gets an empty file."""
    height, width = annotation.size_hw
    lines = []
    for label, instance in annotation.objects():
        ring = join_parts(smooth_polygons(instance.polygons(), tolerance)) / (width, height)
        lines.append(" ".join([str(classes.index(label)), *(f"{value:.6g}" for value in ring.ravel().tolist())]))
    write_text(directory / "labels" / f"{annotation.stem}.txt", "".join(f"{line}\n" for line in lines))


def write_index(directory: Path, classes: Sequence[str], annotations: Iterable[Annotation]) -> None:
    """Write data.yaml; names are JSON strings, which are also YAML strings."""
    names = "".join(f"  {index}: {json.dumps(name, ensure_ascii=False)}\n" for index, name in enumerate(classes))
    write_text(directory / "data.yaml", f"train: images\nval: images\nnames:\n{names}")


def read(directory: Path) -> DataSet:
    """Read a data set as `write_image` and `write_index` lay it out.

    Raises:
        DataError: A file is missing or malformed; the message names it and the line.
    """
    classes = _read_names(directory / "data.yaml")
    annotations = []
    for path in find_files(directory / "images", "*"):
        height, width = size_hw = read_size(path)
        labels_path = directory / "labels" / f"{path.stem}.txt"
        objects = []
        for number, line in enumerate(read_text(labels_path).splitlines(), start=1):
            try:
                class_text, *values = line.split()
                shares = np.array(values, dtype=np.float64).reshape(-1, 2)
                if len(shares) < 3 or not class_text.isdecimal():
                    raise ValueError(f"class {class_text}, {len(shares)} corners")
                if not ((shares >= -_OUTSIDE) & (shares <= 1 + _OUTSIDE)).all():
                    raise ValueError("a corner is outside; corners are shares of width and height, from 0 to 1")
                ring = shares * (width, height)
                objects.append((classes[int(class_text)], Instance.from_mask(fill_rings([ring], size_hw), 1.0)))
            except (ValueError, IndexError) as error:
                raise DataError(f"{labels_path}, line {number}: not 'class x y x y ...': {error}") from error
        annotations.append(Annotation.from_objects(path.name, size_hw, objects))
    return DataSet(classes, tuple(annotations))


def _read_names(path: Path) -> tuple[str, ...]:
    """Read the class map from data.yaml.

    Raises:
        DataError: It is missing or malformed.
    """
    found = _NAME_LINE.findall(read_text(path))
    if [int(number) for number, _ in found] != list(range(len(found))) or not found:
        raise DataError(f"{path}: no names as '  0: \"cat\"', one a line, from 0 on")
    with reading(str(path), "the names of classes"):
        return tuple(json.loads(name) for _, name in found)


def polygon_format(tolerance: float) -> Format:
    """Create the format whose polygons have this tolerance, pixels."""
    return Format(
        name="yolo",
        images="images",
        write_image=partial(write_image, tolerance=tolerance),
        write_index=write_index,
        read=read,
    )


FORMAT = polygon_format(TOLERANCE)

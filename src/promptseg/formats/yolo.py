"""Ultralytics' YOLO segmentation layout: `images/`, `labels/` and `data.yaml`.

Each line is one object: `class x1 y1 x2 y2 ...`, corners as shares of width and height. The format has one ring for
each object, so holes and parts are joined by lines of zero width. `train` and `val` in data.yaml both name `images`;
split the data set as you need.
"""

import json
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import yaml

from promptseg.errors import DataError
from promptseg.formats.annotation import Annotation
from promptseg.formats.base import (
    DataSet,
    DataSetImage,
    Format,
    LeftOut,
    read_size,
    read_text,
    reading,
    write_text,
)
from promptseg.image_files import IMAGE_SUFFIXES
from promptseg.ops.polygons import TOLERANCE, fill_rings, join_parts, smooth_polygons
from promptseg.results import Instance

# Ultralytics reads corners that are outside by this share, and refuses others.
_OUTSIDE = 0.01
# Of a box: x, y, width, height; in a file of predictions, a score too.
_BOX_LENGTHS = (4, 5)
INDEX = "data.yaml"


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
    write_text(directory / INDEX, f"train: images\nval: images\nnames:\n{names}")


def read(directory: Path) -> DataSet:
    """Read a data set as `write_image` and `write_index` lay it out, or as Ultralytics and Roboflow do.

    Splits may be folders in `images/`, or hold folders `images/` of their own. Boxes, which have no outline, and images
    without a file of labels are left out.

    Raises:
        DataError: A file is missing or malformed; the message names it and the line.
    """
    classes = _read_names(_find_yaml(directory))
    annotations, left_out = [], []
    for path in _find_images(directory):
        # Ultralytics' own rule: the folder `labels` in the place of the last folder `images`
        folders = path.relative_to(directory).parent.parts
        place = len(folders) - 1 - folders[::-1].index("images")
        others = [*folders[:place], *folders[place + 1 :]]
        file_name = "/".join([*others, path.name])
        labels_path = directory.joinpath(*folders[:place], "labels", *folders[place + 1 :], f"{path.stem}.txt")
        if not labels_path.exists():
            left_out.append(LeftOut(str(labels_path), "there is no such file: an image without labels", file_name, ""))
            continue
        height, width = size_hw = read_size(path)
        objects = []
        for number, line in enumerate(read_text(labels_path).splitlines(), start=1):
            where = f"{labels_path}, line {number}"
            if not line.strip():
                continue
            try:
                class_text, *values = line.split()
                class_number = float(class_text)
                if not class_number.is_integer() or class_number < 0:
                    raise ValueError(f"class {class_text}")
                label = classes[int(class_number)]
                shares = np.array(values, dtype=np.float64)
                if len(shares) in _BOX_LENGTHS:
                    left_out.append(LeftOut(where, "a box without an outline", file_name, label))
                    continue
                shares = shares.reshape(-1, 2)
                if len(shares) < 3:
                    raise ValueError(f"class {class_text}, {len(shares)} corners")
                if not ((shares >= -_OUTSIDE) & (shares <= 1 + _OUTSIDE)).all():
                    raise ValueError("a corner is outside; corners are shares of width and height, from 0 to 1")
                ring = shares * (width, height)
                objects.append((label, Instance.from_mask(fill_rings([ring], size_hw), 1.0)))
            except (ValueError, IndexError, OverflowError) as error:
                raise DataError(f"{where}: not 'class x y x y ...': {error}") from error
        annotations.append(Annotation.from_objects(file_name, size_hw, objects))
    return DataSet(classes, tuple(annotations), tuple(left_out))


def _find_images(directory: Path) -> list[Path]:
    """List the images below folders called `images`, sorted."""
    found = (path for folder in directory.glob("**/images") for path in folder.rglob("*"))
    return sorted({path for path in found if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")})


def _find_yaml(directory: Path) -> Path:
    """Find the class map: data.yaml, or the only other YAML file."""
    others = sorted([*directory.glob("*.yaml"), *directory.glob("*.yml")])
    if (directory / INDEX).exists() or len(others) != 1:
        return directory / INDEX
    return others[0]


def _read_names(path: Path) -> tuple[str, ...]:
    """Read the class map: a list of names, or names by their numbers.

    Raises:
        DataError: It is missing or malformed.
    """
    try:
        document = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise DataError(f"{path}: no names as '  0: \"cat\"', one a line, from 0 on")
    with reading(str(path), "the names of classes"):
        by_number = {int(number): _read_name(name) for number, name in names.items()}
        if sorted(by_number) != list(range(len(names))):
            raise DataError(f"{path}: the classes have the numbers {sorted(by_number)[:9]}, not 0, 1, 2 and so on")
        return tuple(by_number[number] for number in range(len(names)))


def _read_name(name: object) -> str:
    """Read a name; a number is one too, and `no` is false to YAML."""
    if isinstance(name, bool):
        raise ValueError(f"a name that YAML reads as {str(name).lower()}; write it in quotes")
    if not isinstance(name, str | int | float):
        raise TypeError(f"a name is text, not {type(name).__name__}")
    return str(name).strip()


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

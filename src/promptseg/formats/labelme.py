"""labelme: `pictures/`, a JSON file beside each image.

`labelme` writes polygons, which can be edited: one shape for each part of an object, parts of one object share a group
id, holes are tied in by lines without width. `labelme-masks` writes masks (labelme 5.2 and later), a PNG in the JSON.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.formats.annotation import Annotation
from promptseg.formats.base import (
    DataSet,
    DataSetImage,
    Format,
    find_files,
    read_class_map,
    read_json,
    reading,
    write_json,
)
from promptseg.images import check_stated_size
from promptseg.ops.polygons import fill_rings, join_holes, trace_polygons
from promptseg.results import Instance

FOLDER = "pictures"

_VERSION = "5.5.0"


def write_polygons(directory: Path, annotation: Annotation, classes: Sequence[str], image: DataSetImage) -> None:
    """Write the JSON file of one image, with polygons."""
    shapes = []
    for group_id, (label, instance) in enumerate(annotation.objects()):
        left, top, _, _ = instance.box_xyxy
        for polygon in trace_polygons(instance.box_mask, origin_xy=(left, top)):
            points = join_holes(polygon).astype(float).tolist()
            shapes.append(_shape(label, points, instance, shape_type="polygon") | {"group_id": group_id})
    _write(directory, annotation, shapes)


def write_masks(directory: Path, annotation: Annotation, classes: Sequence[str], image: DataSetImage) -> None:
    """Write the JSON file of one image, with masks."""
    shapes = []
    for label, instance in annotation.objects():
        left, top, right, bottom = instance.box_xyxy
        png = io.BytesIO()
        Image.fromarray(instance.box_mask.astype(np.uint8)).save(png, format="PNG")
        # Both corners are pixels of the box.
        points = [[float(left), float(top)], [float(right - 1), float(bottom - 1)]]
        mask = base64.b64encode(png.getvalue()).decode("ascii")
        shapes.append(_shape(label, points, instance, shape_type="mask") | {"mask": mask})
    _write(directory, annotation, shapes)


def read(directory: Path) -> DataSet:
    """Read all JSON files, polygons, masks or both.

    Raises:
        DataError: A file is missing or malformed; the message names it.
    """
    annotations = []
    for path in find_files(directory / FOLDER, "*.json"):
        document = read_json(path)
        with reading(str(path), "labelme's JSON"):
            size_hw = check_stated_size(document["imageHeight"], document["imageWidth"], where=str(path))
            annotations.append(Annotation.from_objects(document["imagePath"], size_hw, _objects(document, size_hw)))
    return DataSet(read_class_map(directory), tuple(annotations))


def _shape(label: str, points: list[list[float]], instance: Instance, *, shape_type: str) -> dict[str, Any]:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": shape_type,
        "flags": {},
        "mask": None,
        "score": instance.score,
    }


def _write(directory: Path, annotation: Annotation, shapes: list[dict[str, Any]]) -> None:
    height, width = annotation.size_hw
    document: dict[str, Any] = {
        "version": _VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": annotation.file_name,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }
    write_json(directory / FOLDER / f"{annotation.stem}.json", document)


def _objects(document: dict[str, Any], size_hw: tuple[int, int]) -> list[tuple[str, Instance]]:
    masks: dict[tuple[str, int], NDArray[np.bool_]] = {}
    scores: dict[tuple[str, int], float] = {}
    for index, shape in enumerate(document["shapes"]):
        # A shape without a group is an object of its own.
        key = (shape["label"], -1 - index if shape["group_id"] is None else shape["group_id"])
        mask = _to_mask(shape, size_hw)
        masks[key] = masks[key] | mask if key in masks else mask
        scores[key] = shape.get("score", 1.0)
    return [(label, Instance.from_mask(mask, scores[label, group])) for (label, group), mask in masks.items()]


def _to_mask(shape: dict[str, Any], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    if shape["shape_type"] == "polygon":
        return fill_rings([shape["points"]], size_hw)
    if shape["shape_type"] != "mask":
        raise ValueError(f"a shape of the type {shape['shape_type']!r}; polygon and mask are read")
    mask = np.zeros(size_hw, dtype=np.bool_)
    (left, top), (right, bottom) = np.array(shape["points"], dtype=np.int64)
    with Image.open(io.BytesIO(base64.b64decode(shape["mask"])), formats=["PNG"]) as image:
        mask[top : bottom + 1, left : right + 1] = np.asarray(image) > 0
    return mask


POLYGON_FORMAT = Format(
    name="labelme",
    images=FOLDER,
    write_image=write_polygons,
    write_index=None,
    read=read,
)
MASK_FORMAT = Format(
    name="labelme-masks",
    images=FOLDER,
    write_image=write_masks,
    write_index=None,
    read=read,
)

"""labelme: `pictures/` with the images and a JSON file beside each.

`labelme` writes polygons, which can be edited: one shape for each part of an object; parts of one object share a group
id, and holes are joined by lines of zero width. `labelme-masks` writes masks (labelme 5.2 and later) as PNG in JSON.
"""

import base64
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.errors import DataError
from promptseg.formats.annotation import Annotation, describe_quality
from promptseg.formats.base import (
    CLASS_MAP,
    DataSet,
    DataSetImage,
    Format,
    LeftOut,
    find_files,
    list_classes,
    read_json,
    read_size,
    reading,
    write_json,
)
from promptseg.image_files import IMAGE_SUFFIXES
from promptseg.images import check_stated_size
from promptseg.ops.polygons import TOLERANCE, fill_rings, join_holes, smooth_polygons
from promptseg.results import Instance
from promptseg.stored_values import find_inside

FOLDER = "pictures"

_VERSION = "5.5.0"
# Shapes whose points enclose an area.
_RINGS = frozenset({"polygon", "quadrilateral", "rectangle", "rotation"})


def write_polygons(
    directory: Path,
    annotation: Annotation,
    classes: Sequence[str],
    image: DataSetImage,
    *,
    tolerance: float = 0.0,
) -> None:
    """Write the JSON file of one image, with polygons."""
    shapes = []
    for group_id, (label, instance) in enumerate(annotation.objects()):
        for polygon in smooth_polygons(instance.polygons(), tolerance):
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
        # Both corners are pixels inside the box.
        points = [[float(left), float(top)], [float(right - 1), float(bottom - 1)]]
        mask = base64.b64encode(png.getvalue()).decode("ascii")
        shapes.append(_shape(label, points, instance, shape_type="mask") | {"mask": mask})
    _write(directory, annotation, shapes)


def read(directory: Path) -> DataSet:
    """Read all JSON files, also those that a person mended or drew in labelme.

    Polygons, rectangles, circles and masks are areas; other shapes, such as lines, are listed in `left_out`. Only
    `shapes`, with `label` and `points` in each, must be there: the size is that of the image where it isn't stated.

    Args:
        directory: Holds the files, in `pictures/` or directly. Without a class map the classes are the labels, sorted.

    Raises:
        DataError: A file is missing or malformed; the message names it.
    """
    folder = directory / FOLDER if (directory / FOLDER).is_dir() else directory
    annotations = []
    left_out: list[LeftOut] = []
    for path in find_files(folder, "*.json"):
        document = read_json(path)
        with reading(str(path), "labelme's JSON"):
            file_name = str(document.get("imagePath") or _find_image(path)).replace("\\", "/")
            size_hw = _read_size(document, path, folder / file_name)
            objects = _objects(document["shapes"], size_hw, str(path), file_name, left_out)
            annotations.append(Annotation.from_objects(file_name, size_hw, objects))
    if not annotations and not (directory / CLASS_MAP).exists():
        raise DataError(f"{folder}: no JSON file of labelme")
    return DataSet(list_classes(directory, annotations), tuple(annotations), tuple(left_out))


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
        **describe_quality(instance),
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


def _find_image(path: Path) -> str:
    """Find the image of a JSON file that names none: the one of the same name beside it."""
    for image in find_files(path.parent, "*"):
        if image.stem == path.stem and image.suffix.lower() in IMAGE_SUFFIXES:
            return image.name
    raise ValueError("no imagePath, and no image of the same name beside it")


def _read_size(document: dict[str, Any], path: Path, image: Path) -> tuple[int, int]:
    if document.get("imageHeight") is None and document.get("imageWidth") is None and image.is_file():
        return check_stated_size(*read_size(image), where=str(image))
    return check_stated_size(document["imageHeight"], document["imageWidth"], where=str(path))


def _objects(
    shapes: list[dict[str, Any]], size_hw: tuple[int, int], where: str, file_name: str, left_out: list[LeftOut]
) -> list[tuple[str, Instance]]:
    masks: dict[tuple[str, Any], NDArray[np.bool_]] = {}
    scores: dict[tuple[str, Any], tuple[float, float | None]] = {}
    for index, shape in enumerate(shapes):
        label = shape["label"]
        if not isinstance(label, str) or not label.strip():
            raise ValueError(f"shapes[{index}] has the label {label!r}")
        label = label.strip()
        mask = _to_mask(shape, size_hw)
        if mask is None or not mask.any():
            what = f"{label!r}, a shape of the type {_kind(shape)!r}, is no area in the image"
            left_out.append(LeftOut(f"{where}, shapes[{index}]", what, file_name, label))
            continue
        # A shape without a group is one object.
        group_id = shape.get("group_id")
        key = (label, -1 - index if group_id is None else group_id)
        masks[key] = masks[key] | mask if key in masks else mask
        score = shape.get("score")
        scores[key] = 1.0 if score is None else score, shape.get("mask_quality")
    return [
        (key[0], Instance.from_mask(mask, scores[key][0], mask_quality=scores[key][1])) for key, mask in masks.items()
    ]


def _kind(shape: dict[str, Any]) -> str:
    # Files from before labelme 3 hold polygons and state no type.
    return str(shape.get("shape_type") or "polygon")


def _to_mask(shape: dict[str, Any], size_hw: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Convert a shape to a mask; None: it encloses nothing, as lines and points, or its type is not known."""
    kind = _kind(shape)
    points = np.array(shape["points"], dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(points).all():
        raise ValueError("a point that is not finite")
    if kind == "mask":
        return _read_mask(shape, size_hw)
    if kind == "circle":
        return _fill_circle(points, size_hw)
    if kind == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        return fill_rings([[(x0, y0), (x1, y0), (x1, y1), (x0, y1)]], size_hw)
    # X-AnyLabeling has rotated boxes and boxes of four corners.
    if kind in _RINGS and len(points) >= 3:
        return fill_rings([points], size_hw)
    return None


def _fill_circle(points: NDArray[np.float64], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill the circle around the first point, through the second one."""
    center, edge = points
    rows, columns = np.ogrid[: size_hw[0], : size_hw[1]]
    return np.asarray(np.hypot(columns + 0.5 - center[0], rows + 0.5 - center[1]) <= np.hypot(*(edge - center)))


def _read_mask(shape: dict[str, Any], size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    mask = np.zeros(size_hw, dtype=np.bool_)
    (left, top), (right, bottom) = np.array(shape["points"], dtype=np.int64)
    with Image.open(io.BytesIO(base64.b64decode(shape["mask"])), formats=["PNG"]) as image:
        mask[top : bottom + 1, left : right + 1] = find_inside(np.asarray(image))
    return mask


def polygon_format(tolerance: float) -> Format:
    """Create the format whose polygons have this tolerance, pixels."""
    return Format(
        name="labelme",
        images=FOLDER,
        write_image=partial(write_polygons, tolerance=tolerance),
        write_index=None,
        read=read,
    )


POLYGON_FORMAT = polygon_format(TOLERANCE)
MASK_FORMAT = Format(
    name="labelme-masks",
    images=FOLDER,
    write_image=write_masks,
    write_index=None,
    read=read,
)

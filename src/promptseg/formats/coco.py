"""COCO's instances JSON: `images/` and `annotations/instances.json`.

`coco` stores masks as compressed run-length codes; `coco-polygons` as polygons, one for each part of an object, with
holes joined by lines of zero width. With a tolerance of 0 these follow the edges of the pixels, and pycocotools decodes
both to the same mask. Every annotation has a `score` besides COCO's own keys, and a `mask_quality` if it is known.
Category ids are class + 1.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from promptseg.formats.annotation import Annotation, describe_quality
from promptseg.formats.base import DataSet, Format, read_json, reading, write_json
from promptseg.images import check_stated_size
from promptseg.ops.polygons import TOLERANCE, join_holes, smooth_polygons
from promptseg.ops.rle import coco_rle, decode_rle
from promptseg.results import Instance

INDEX = Path("annotations") / "instances.json"
_WHAT = "COCO's instances"


def write_rles(directory: Path, classes: Sequence[str], annotations: Iterable[Annotation]) -> None:
    """Write the instances JSON with run-length codes."""
    _write(directory, classes, annotations, Instance.to_rle)


def write_polygons(
    directory: Path, classes: Sequence[str], annotations: Iterable[Annotation], *, tolerance: float = 0.0
) -> None:
    """Write the instances JSON with polygons."""
    _write(directory, classes, annotations, partial(_polygons, tolerance=tolerance))


def read(directory: Path) -> DataSet:
    """Read an instances JSON of run-length codes, polygons or both.

    Raises:
        DataError: It is missing or malformed; the message names it.
    """
    path = directory / INDEX
    document = read_json(path)
    with reading(str(path), _WHAT):
        names = {category["id"]: category["name"] for category in document["categories"]}
        sizes = {
            image["id"]: check_stated_size(image["height"], image["width"], where=f"{path}, image {image['id']}")
            for image in document["images"]
        }
        objects: dict[int, list[tuple[str, Instance]]] = {image_id: [] for image_id in sizes}
        for index, each in enumerate(document["annotations"]):
            with reading(f"{path}, annotations[{index}]", _WHAT):
                mask = decode_rle(coco_rle(each["segmentation"], sizes[each["image_id"]]))
                instance = Instance.from_mask(mask, each.get("score", 1.0), mask_quality=each.get("mask_quality"))
                objects[each["image_id"]].append((names[each["category_id"]], instance))
        annotations = tuple(
            Annotation.from_objects(image["file_name"], sizes[image["id"]], objects[image["id"]])
            for image in document["images"]
        )
    return DataSet(tuple(names.values()), annotations)


def categories(classes: Sequence[str]) -> list[dict[str, Any]]:
    """Describe the class map as COCO does; ids start at 1."""
    return [{"id": index + 1, "name": name, "supercategory": ""} for index, name in enumerate(classes)]


def describe_image(annotation: Annotation, image_id: int) -> dict[str, Any]:
    """Describe an image as COCO does."""
    height, width = annotation.size_hw
    return {"id": image_id, "file_name": annotation.file_name, "height": height, "width": width}


def _write(
    directory: Path,
    classes: Sequence[str],
    annotations: Iterable[Annotation],
    encode: Callable[[Instance], Any],
) -> None:
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for image_id, annotation in enumerate(annotations, start=1):
        images.append(describe_image(annotation, image_id))
        for label, instance in annotation.objects():
            left, top, right, bottom = instance.box_xyxy
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": image_id,
                    "category_id": classes.index(label) + 1,
                    "bbox": [left, top, right - left, bottom - top],
                    "area": instance.area,
                    "iscrowd": 0,
                    "segmentation": encode(instance),
                    "score": instance.score,
                    **describe_quality(instance),
                }
            )
    document = {
        "info": {"description": "written by promptseg"},
        "licenses": [],
        "images": images,
        "annotations": objects,
        "categories": categories(classes),
    }
    write_json(directory / INDEX, document)


def _polygons(instance: Instance, *, tolerance: float) -> list[list[float]]:
    return [join_holes(polygon).ravel().tolist() for polygon in smooth_polygons(instance.polygons(), tolerance)]


RLE_FORMAT = Format(
    name="coco",
    images="images",
    write_image=None,
    write_index=write_rles,
    read=read,
)


def polygon_format(tolerance: float) -> Format:
    """Create the format whose polygons have this tolerance, pixels."""
    return Format(
        name="coco-polygons",
        images="images",
        write_image=None,
        write_index=partial(write_polygons, tolerance=tolerance),
        read=read,
    )


POLYGON_FORMAT = polygon_format(TOLERANCE)

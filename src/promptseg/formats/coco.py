"""COCO's instances JSON: `images/` and `annotations/instances.json`.

`coco` stores masks as compressed run-length codes; `coco-polygons` as polygons, one for each part of an object, with
holes joined by lines of zero width. With a tolerance of 0 these follow the edges of the pixels, and pycocotools decodes
both to the same mask. Every annotation has a `score` besides COCO's own keys, and a `mask_quality` if it is known.
Category ids are class + 1.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from promptseg.errors import DataError
from promptseg.formats.annotation import Annotation, describe_quality
from promptseg.formats.base import DataSet, Format, LeftOut, read_json, reading, write_json
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
    """Read an instances JSON of run-length codes, polygons or both, also as other tools write it.

    Ids may be numbers or texts. Annotations without an outline, such as the boxes of a detector, are left out.

    Args:
        directory: Holds `annotations/instances.json`; or it, or its folder `annotations`, holds one other JSON file.

    Raises:
        DataError: The file is missing or malformed; the message names it.
    """
    path = _find_index(directory)
    document = read_json(path)
    with reading(str(path), _WHAT):
        names = {_key(category["id"]): _name(category["name"]) for category in document["categories"]}
        images = {_key(image["id"]): image for image in document["images"]}
        sizes = {
            image_id: check_stated_size(image.get("height"), image.get("width"), where=f"{path}, image {image['id']}")
            for image_id, image in images.items()
        }
        objects: dict[str, list[tuple[str, Instance]]] = {image_id: [] for image_id in images}
        left_out: list[LeftOut] = []
        for index, each in enumerate(document["annotations"]):
            where = f"{path}, annotations[{index}]"
            with reading(where, _WHAT):
                image_id, category_id = _key(each["image_id"]), _key(each["category_id"])
                for known, key, stated in ((images, "image_id", image_id), (names, "category_id", category_id)):
                    if stated not in known:
                        raise DataError(f"{where}: the file has no {key[:-3]} of the {key} {stated!r}")
                segmentation = _outlines(each.get("segmentation"))
                if not segmentation:
                    what = "a box without an outline" if each.get("bbox") else "no outline"
                    left_out.append(LeftOut(where, what, images[image_id]["file_name"], names[category_id]))
                    continue
                mask = decode_rle(coco_rle(segmentation, sizes[image_id]))
                score = 1.0 if each.get("score") is None else float(each["score"])
                instance = Instance.from_mask(mask, score, mask_quality=each.get("mask_quality"))
                objects[image_id].append((names[category_id], instance))
        annotations = tuple(
            Annotation.from_objects(image["file_name"].replace("\\", "/"), sizes[image_id], objects[image_id])
            for image_id, image in images.items()
        )
    return DataSet(tuple(dict.fromkeys(names.values())), annotations, tuple(left_out))


def _find_index(directory: Path) -> Path:
    """Find the JSON file: that of `write`, or the only one, such as Roboflow's `_annotations.coco.json`.

    Raises:
        DataError: There are several.
    """
    if (directory / INDEX).is_file():
        return directory / INDEX
    found = [*directory.glob("*.json"), *(directory / INDEX.parent).glob("*.json")]
    if len(found) > 1:
        listed = ", ".join(sorted(str(path.relative_to(directory)) for path in found)[:4])
        raise DataError(f"{directory}: which file is meant? Name it {INDEX.as_posix()}, or remove the others: {listed}")
    return found[0] if found else directory / INDEX


def _key(value: object) -> str:
    """Give an id as text: 7, 7.0 and "7" are one id."""
    return str(_whole(value)).strip()


def _name(name: Any) -> Any:
    """Give the name of a class without blanks around it; a number is a name too."""
    return str(name).strip() if isinstance(name, str | int) else name


def _whole(value: object) -> object:
    """Give a number that was written as 7.0 or "7" as 7; anything else stays as it is."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and value.strip().isdecimal() else value


def _outlines(segmentation: Any) -> Any:
    """Give a segmentation with its polygons as COCO has them: lists of x, y, x, y, ... of three corners or more.

    Corners as pairs and one polygon without the outer list become so. A run-length code stays as it is.
    """
    if not isinstance(segmentation, list):
        return segmentation
    rings = [segmentation] if segmentation and isinstance(segmentation[0], int | float) else segmentation
    flat = [list(chain.from_iterable(ring)) if ring and isinstance(ring[0], list) else ring for ring in rings]
    return [ring for ring in flat if len(ring) > 5]


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

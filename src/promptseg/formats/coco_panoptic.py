"""COCO panoptic: `images/`, `panoptic/` with one PNG for each image, and `annotations/panoptic.json`.

A pixel's color encodes its segment, id = R + 256 G + 65536 B, 0 is no segment. One object is one segment; where objects
overlap, the one with the best score is on top. Category ids are class + 1, and all are `isthing`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.formats.annotation import Annotation, describe_quality
from promptseg.formats.base import (
    DataSet,
    DataSetImage,
    Format,
    paint_indexes,
    read_json,
    read_png,
    reading,
    write_json,
    write_png,
)
from promptseg.formats.coco import categories, describe_image
from promptseg.ops.masks import tight_box
from promptseg.results import Instance

INDEX = Path("annotations") / "panoptic.json"
_FOLDER = "panoptic"


def write_image(directory: Path, annotation: Annotation, classes: Sequence[str], image: DataSetImage) -> None:
    """Write the segments of one image."""
    ids = _segment_ids(annotation)
    channels = np.stack([ids, ids >> 8, ids >> 16], axis=2) & 255
    write_png(directory / _FOLDER / f"{annotation.stem}.png", Image.fromarray(channels.astype(np.uint8)))


def write_index(directory: Path, classes: Sequence[str], annotations: Iterable[Annotation]) -> None:
    """Write the panoptic JSON; an object that others cover completely gets no segment."""
    images, described = [], []
    for image_id, annotation in enumerate(annotations, start=1):
        ids = _segment_ids(annotation)
        segments = []
        for segment_id, (label, instance) in enumerate(annotation.objects(), start=1):
            visible = ids == segment_id
            if not visible.any():
                continue
            left, top, right, bottom = tight_box(visible)
            segments.append(
                {
                    "id": segment_id,
                    "category_id": classes.index(label) + 1,
                    "area": int(visible.sum()),
                    "bbox": [left, top, right - left, bottom - top],
                    "iscrowd": 0,
                    "score": instance.score,
                    **describe_quality(instance),
                }
            )
        images.append(describe_image(annotation, image_id))
        described.append({"image_id": image_id, "file_name": f"{annotation.stem}.png", "segments_info": segments})
    document = {
        "info": {"description": "written by promptseg"},
        "licenses": [],
        "images": images,
        "annotations": described,
        "categories": [{**category, "isthing": 1} for category in categories(classes)],
    }
    write_json(directory / INDEX, document)


def read(directory: Path) -> DataSet:
    """Read the panoptic JSON and its PNG files.

    Raises:
        DataError: A file is missing or malformed; the message names it.
    """
    document = read_json(directory / INDEX)
    with reading(str(directory / INDEX), "COCO's panoptic JSON"):
        names = {category["id"]: category["name"] for category in document["categories"]}
        images = {image["id"]: image for image in document["images"]}
        annotations = []
        for each in document["annotations"]:
            image = images[each["image_id"]]
            red, green, blue = np.moveaxis(read_png(directory / _FOLDER / each["file_name"]).astype(np.int64), 2, 0)
            ids = red + 256 * green + 65536 * blue
            size_hw = (image["height"], image["width"])
            if ids.shape != size_hw:
                raise ValueError(f"{each['file_name']} is {ids.shape} (height, width), its image {size_hw}")
            _check_segments(ids, [info["id"] for info in each["segments_info"]])
            objects = [
                (
                    names[info["category_id"]],
                    Instance.from_mask(
                        ids == info["id"], info.get("score", 1.0), mask_quality=info.get("mask_quality")
                    ),
                )
                for info in each["segments_info"]
            ]
            annotations.append(Annotation.from_objects(image["file_name"], size_hw, objects))
    return DataSet(tuple(names.values()), tuple(annotations))


def _check_segments(ids: NDArray[np.int64], stated: list[int]) -> None:
    """Check that a PNG and the JSON have the same segments.

    Raises:
        ValueError: One of them has a segment that the other lacks.
    """
    drawn = np.unique(ids[ids != 0]).tolist()
    if sorted(stated) != drawn:
        other = sorted(set(stated) ^ set(drawn))
        raise ValueError(f"segments_info and the PNG differ in the segments {other[:5] or 'that come twice'}")


def _segment_ids(annotation: Annotation) -> NDArray[np.int64]:
    numbered = [(index, instance) for index, (_, instance) in enumerate(annotation.objects(), start=1)]
    return paint_indexes(annotation.size_hw, numbered, what="a panoptic PNG", largest=(1 << 24) - 1)


FORMAT = Format(
    name="coco-panoptic",
    images="images",
    write_image=write_image,
    write_index=write_index,
    read=read,
)

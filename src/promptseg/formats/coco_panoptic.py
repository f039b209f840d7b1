"""COCO panoptic: `images/`, `panoptic/` with one PNG for each image, and `annotations/panoptic.json`.

A pixel's color encodes its segment, id = R + 256 G + 65536 B, 0 is no segment. One object of a thing is one segment,
and all of a stuff class is one segment; where they overlap, the one with the best score is on top. Category ids are
class + 1.

Source:
    Kirillov et al. 2019, arXiv:1801.00868; the format as cocodataset/panopticapi @ 7bb4655 reads it.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
from promptseg.language.things_and_stuff import decide_kind
from promptseg.ops.index_images import LARGEST_SEGMENT_ID, decode_segment_ids, encode_segment_ids
from promptseg.ops.masks import tight_box
from promptseg.results import Instance

INDEX = Path("annotations") / "panoptic.json"
_FOLDER = "panoptic"

IsThing = Callable[[str], bool]


def panoptic_format(stuff: Collection[str] | None = None) -> Format:
    """Give the format for classes of which some are stuff; None: tables and WordNet tell (`decide_kind`)."""
    is_thing = partial(_is_thing, None if stuff is None else frozenset(stuff))
    return Format(
        name="coco-panoptic",
        images="images",
        write_image=partial(write_image, is_thing=is_thing),
        write_index=partial(write_index, is_thing=is_thing),
        read=read,
    )


def write_image(
    directory: Path,
    annotation: Annotation,
    classes: Sequence[str],
    image: DataSetImage,
    *,
    is_thing: IsThing,
) -> None:
    """Write the segments of one image."""
    ids = _paint(annotation, _list_segments(annotation, is_thing))
    write_png(directory / _FOLDER / f"{annotation.stem}.png", encode_segment_ids(ids))


def write_index(
    directory: Path, classes: Sequence[str], annotations: Iterable[Annotation], *, is_thing: IsThing
) -> None:
    """Write the panoptic JSON; an object that others cover completely gets no segment."""
    images, described = [], []
    for image_id, annotation in enumerate(annotations, start=1):
        listed = _list_segments(annotation, is_thing)
        ids = _paint(annotation, listed)
        segments = []
        for segment_id, (label, instance) in enumerate(listed, start=1):
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
        "categories": [{**category, "isthing": int(is_thing(category["name"]))} for category in categories(classes)],
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
            ids = decode_segment_ids(read_png(directory / _FOLDER / each["file_name"]))
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


def _check_segments(ids: NDArray[np.int32], stated: list[int]) -> None:
    """Check that a PNG and the JSON have the same segments.

    Raises:
        ValueError: One of them has a segment that the other lacks.
    """
    drawn = set(np.unique(ids[ids != 0]).tolist())
    if strangers := sorted(drawn - set(stated)):
        raise ValueError(f"the PNG has the segment {strangers[0]}, which segments_info lacks")
    if missing := sorted(set(stated) - drawn):
        raise ValueError(f"segments_info has the segment {missing[0]}, which the PNG lacks")
    if len(stated) > len(drawn):
        raise ValueError("segments_info has a segment twice")


def _is_thing(stuff: frozenset[str] | None, label: str) -> bool:
    return decide_kind([label])[0] if stuff is None else label not in stuff


def _list_segments(annotation: Annotation, is_thing: IsThing) -> list[tuple[str, Instance]]:
    """List the segments of an image with their labels: the objects of things, and all of a stuff class as one."""
    return [
        (region.label, instance)
        for region in annotation.regions
        for instance in (region.instances if is_thing(region.label) else (region.area,))
    ]


def _paint(annotation: Annotation, segments: Sequence[tuple[str, Instance]]) -> NDArray[np.int64]:
    numbered = [(index, instance) for index, (_, instance) in enumerate(segments, start=1)]
    return paint_indexes(annotation.size_hw, numbered, what="a panoptic PNG", largest=LARGEST_SEGMENT_ID)


FORMAT = panoptic_format()

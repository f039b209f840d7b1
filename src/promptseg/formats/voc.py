"""Pascal VOC: `JPEGImages/`, `Annotations/` (XML), `SegmentationClass/` and `SegmentationObject/` (palette PNG).

A class's value is its number + 1; an object's value is its position among the objects of the XML, from 1. Both maps
hold one object for each pixel: where objects overlap, the one with the best score is on top. Boxes count pixels from 1,
right and bottom inclusive.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import DataError
from promptseg.formats.annotation import Annotation
from promptseg.formats.base import (
    CLASS_MAP,
    DataSet,
    DataSetImage,
    Format,
    LeftOut,
    find_files,
    list_classes,
    paint_indexes,
    read_class_map,
    read_png,
    read_text,
    write_png,
    write_text,
)
from promptseg.ops.index_images import to_index_image
from promptseg.results import Instance

# The border that VOC ignores.
_BORDER = 255
_LARGEST = _BORDER - 1


def write_image(directory: Path, annotation: Annotation, classes: Sequence[str], image: DataSetImage) -> None:
    """Write the XML and the two maps of one image.

    Raises:
        ImageError: There are more than 254 classes, or objects in the image.
    """
    objects = list(annotation.objects())
    class_map, object_map = (
        paint_indexes(annotation.size_hw, numbered, what="an index map of Pascal VOC", largest=_LARGEST)
        for numbered in (
            [(classes.index(label) + 1, instance) for label, instance in objects],
            [(number, instance) for number, (_, instance) in enumerate(objects, start=1)],
        )
    )
    _write_map(directory / "SegmentationClass" / f"{annotation.stem}.png", class_map)
    _write_map(directory / "SegmentationObject" / f"{annotation.stem}.png", object_map)
    document = _to_xml(annotation)
    ElementTree.indent(document)
    text = ElementTree.tostring(document, encoding="unicode")
    write_text(directory / "Annotations" / f"{annotation.stem}.xml", text + "\n")


def write_index(directory: Path, classes: Sequence[str], annotations: Iterable[Annotation]) -> None:
    """Write the list of images."""
    listing = "".join(f"{annotation.stem}\n" for annotation in annotations)
    write_text(directory / "ImageSets" / "Segmentation" / "train.txt", listing)


def read(directory: Path) -> DataSet:
    """Read the XML files, and the object maps for the masks; the border that the maps mark by 255 is in no object.

    Objects of an image without a map are left out: they are boxes without an outline.

    Args:
        directory: Of the data set. Without a class map the classes are the names of the objects, sorted.

    Raises:
        DataError: A file is missing or malformed; the message names it.
    """
    annotations, left_out = [], []
    for path in find_files(directory / "Annotations", "*.xml"):
        try:
            root = ElementTree.fromstring(read_text(path))
        except ElementTree.ParseError as error:
            raise DataError(f"{path}: not XML: {error}") from error
        labels = [found.findtext("name", "").strip() for found in root.iter("object")]
        file_name = root.findtext("filename", "")
        stated_hw = tuple(root.findtext(f"size/{side}") for side in ("height", "width"))
        map_path = directory / "SegmentationObject" / f"{path.stem}.png"
        if not map_path.exists() and root.findtext("segmented", "0").strip() != "1":
            left_out += [LeftOut(str(path), "a box without an outline", file_name, label) for label in labels]
            continue
        object_map = read_png(map_path)
        if object_map.ndim == 2:
            object_map = np.where(object_map == _BORDER, 0, object_map)
        if object_map.ndim != 2 or int(object_map.max(initial=0)) > len(labels) or not (all(labels) and file_name):
            raise DataError(f"{path}: its objects are not those of its map in SegmentationObject")
        if None not in stated_hw and stated_hw != tuple(map(str, object_map.shape)):
            raise DataError(f"{path}: states {stated_hw} (H, W), its map in SegmentationObject is {object_map.shape}")
        masks = ((label, object_map == number) for number, label in enumerate(labels, start=1))
        objects = [(label, Instance.from_mask(mask, 1.0)) for label, mask in masks if mask.any()]
        height, width = object_map.shape
        annotations.append(Annotation.from_objects(file_name, (height, width), objects))
    has_class_map = (directory / CLASS_MAP).exists()
    if not (annotations or left_out or has_class_map):
        raise DataError(f"{directory / 'Annotations'}: no XML file of Pascal VOC")
    classes = read_class_map(directory) if has_class_map else list_classes(directory, annotations)
    return DataSet(classes, tuple(annotations), tuple(left_out))


def _write_map(path: Path, indexes: NDArray[np.int64]) -> None:
    write_png(path, to_index_image(indexes, num_classes=_LARGEST))


def _to_xml(annotation: Annotation) -> ElementTree.Element:
    height, width = annotation.size_hw
    root = ElementTree.Element("annotation")
    _add(root, {"folder": "JPEGImages", "filename": annotation.file_name})
    _add(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    _add(root, {"segmented": 1})
    for label, instance in annotation.objects():
        left, top, right, bottom = instance.box_xyxy
        found = ElementTree.SubElement(root, "object")
        _add(found, {"name": label, "pose": "Unspecified", "truncated": 0, "difficult": 0})
        box = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
        _add(ElementTree.SubElement(found, "bndbox"), box)
    return root


def _add(parent: ElementTree.Element, values: Mapping[str, str | int]) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = str(value)


FORMAT = Format(
    name="voc",
    images="JPEGImages",
    write_image=write_image,
    write_index=write_index,
    read=read,
)

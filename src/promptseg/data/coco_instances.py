"""COCO's instances.json: images, classes, and annotations whose masks are made when they are asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from promptseg.data.jsonl import Line
from promptseg.data.layout import lines_of, load_json
from promptseg.errors import DataError
from promptseg.ops.rle import Rle, coco_rle


@dataclass(frozen=True)
class CocoInstances:
    """An instances file.

    Attributes:
        images: By id; fields file_name, height, width.
        annotations: By id; fields image_id, category_id, segmentation, iscrowd.
        class_names: By category id.
    """

    images: Mapping[int, Line]
    annotations: Mapping[int, Line]
    class_names: Mapping[int, str]

    def size_hw(self, image_id: int) -> tuple[int, int]:
        """Height and width of an image, in pixels."""
        return self.images[image_id].size_hw()

    def file_name(self, image_id: int) -> str:
        """The image's file."""
        return str(self.images[image_id].require(self.images[image_id].record, "file_name", str))

    def class_name(self, annotation: Line) -> str:
        """The class that an annotation is filed under."""
        category_id = annotation.require(annotation.record, "category_id", int)
        if category_id not in self.class_names:
            raise DataError(f"{annotation.where}: no category {category_id} in the file")
        return self.class_names[category_id]


def load_instances(path: Path) -> CocoInstances:
    """Load an instances file.

    Raises:
        DataError: It can't be read, or is not in COCO's form.
    """
    content = load_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path}: expected an object with images, annotations and categories")
    images, annotations, categories = (
        {line.require(line.record, "id", int): line for line in lines_of(content.get(key), f"{path}, {key}")}
        for key in ("images", "annotations", "categories")
    )
    names = {number: str(line.require(line.record, "name", str)) for number, line in categories.items()}
    return CocoInstances(images, annotations, names)


def annotation_rle(annotation: Line, size_hw: tuple[int, int]) -> Rle:
    """Make an annotation's mask: the union of its polygons, or its run-length code.

    Args:
        annotation: Of an instances file.
        size_hw: Height and width of its image, in pixels.

    Raises:
        DataError: The segmentation is malformed, or of another size.
    """
    try:
        return coco_rle(annotation.record.get("segmentation"), size_hw)
    except ValueError as error:
        raise DataError(f"{annotation.where}: segmentation: {error}") from error

"""Read COCO's instances.json: images, classes and annotations; masks are computed on request."""

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
        images: Images by id, with the fields file_name, height and width.
        annotations: Annotations by id, with the fields image_id, category_id, segmentation and iscrowd.
        class_names: Class names by category id.
    """

    images: Mapping[int, Line]
    annotations: Mapping[int, Line]
    class_names: Mapping[int, str]

    def size_hw(self, image_id: int) -> tuple[int, int]:
        """Return the height and width of an image, pixels."""
        return self.images[image_id].size_hw()

    def file_name(self, image_id: int) -> str:
        """Return the file name of an image."""
        return str(self.images[image_id].require(self.images[image_id].record, "file_name", str))

    def class_name(self, annotation: Line) -> str:
        """Return the class name of an annotation.

        Raises:
            DataError: The file lacks its category.
        """
        category_id = annotation.require(annotation.record, "category_id", int)
        if category_id not in self.class_names:
            raise DataError(f"{annotation.where}: no category {category_id} in the file")
        return self.class_names[category_id]


def load_instances(path: Path) -> CocoInstances:
    """Load an instances file.

    Raises:
        DataError: The file can't be read, or does not have COCO's format.
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
    """Compute the mask of an annotation: the union of its polygons, or its run-length code.

    Args:
        annotation: An annotation of an instances file.
        size_hw: Height and width of its image, pixels.

    Raises:
        DataError: The segmentation is malformed or has another size.
    """
    try:
        return coco_rle(annotation.record.get("segmentation"), size_hw)
    except ValueError as error:
        raise DataError(f"{annotation.where}: segmentation: {error}") from error

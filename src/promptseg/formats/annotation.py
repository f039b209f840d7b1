"""What is known of an image, in the one form that every file format is written from and read back to."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import DataError
from promptseg.ops.rle import Rle
from promptseg.results import Instance, Segmentation


@dataclass(frozen=True, eq=False)
class Region:
    """One class in one image.

    Attributes:
        label: Name of the class.
        score: How sure it is that the class is in the image, in [0, 1]; 1 where a format doesn't say.
        area: All of its pixels, crumbs too.
        instances: Its objects.
    """

    label: str
    score: float
    area: Instance
    instances: tuple[Instance, ...]

    @classmethod
    def from_instances(
        cls, label: str, instances: tuple[Instance, ...], *, area: NDArray[np.bool_] | None = None, score: float = 0.0
    ) -> "Region":
        """Make a region of one or more objects.

        Args:
            label: Name of the class.
            instances: Its objects.
            area: All of its pixels, bool, shape (H, W); None: the union of the objects.
            score: Of the class; that of its best object where that is higher.
        """
        score = max(score, *(instance.score for instance in instances))
        if area is None:
            area = np.logical_or.reduce([instance.mask for instance in instances])
        return cls(label, score, Instance.from_mask(area, score), instances)


@dataclass(frozen=True, eq=False)
class Annotation:
    """Everything found in one image.

    Attributes:
        file_name: Of the image, in its data set; the part before the dot is unique there.
        size_hw: Height and width of the image.
        regions: One for each class that is there.
    """

    file_name: str
    size_hw: tuple[int, int]
    regions: tuple[Region, ...]

    @classmethod
    def from_segmentation(cls, segmentation: Segmentation, file_name: str) -> "Annotation":
        """Take over what was found; queries of the same label become one region."""
        regions = []
        for label in dict.fromkeys(result.label for result in segmentation):
            found = [result for result in segmentation if result.label == label and result.mask.any()]
            if not found:
                continue
            score = max(result.presence for result in found)
            area = Instance.from_mask(np.logical_or.reduce([result.mask for result in found]), score)
            instances = tuple(instance for result in found for instance in result.instances)
            regions.append(Region(label, score, area, instances))
        return cls(file_name, segmentation.size_hw, tuple(regions))

    @classmethod
    def from_objects(
        cls, file_name: str, size_hw: tuple[int, int], objects: list[tuple[str, Instance]]
    ) -> "Annotation":
        """Gather objects that have a name; the regions come in the order in which the names appear."""
        by_label: dict[str, list[Instance]] = {}
        for label, instance in objects:
            by_label.setdefault(label, []).append(instance)
        regions = (Region.from_instances(label, tuple(instances)) for label, instances in by_label.items())
        return cls(file_name, size_hw, tuple(regions))

    @property
    def stem(self) -> str:
        """The file name without its last suffix."""
        return self.file_name.rpartition(".")[0] or self.file_name

    def objects(self) -> Iterator[tuple[str, Instance]]:
        """Yield every object with the name of its class."""
        for region in self.regions:
            for instance in region.instances:
                yield region.label, instance

    def to_dict(self) -> dict[str, Any]:
        """Describe everything in JSON's own types; `from_dict` reads it."""
        return {
            "file_name": self.file_name,
            "size_hw": list(self.size_hw),
            "regions": [
                {
                    "label": region.label,
                    "score": region.score,
                    "area": _instance_to_dict(region.area),
                    "instances": [_instance_to_dict(instance) for instance in region.instances],
                }
                for region in self.regions
            ],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Annotation":
        """Read what `to_dict` gave.

        Raises:
            DataError: It is something else.
        """
        try:
            height, width = values["size_hw"]
            regions = tuple(
                Region(
                    each["label"],
                    each["score"],
                    _instance_from_dict(each["area"], (height, width)),
                    tuple(_instance_from_dict(instance, (height, width)) for instance in each["instances"]),
                )
                for each in values["regions"]
            )
            return cls(values["file_name"], (height, width), regions)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not the annotation of an image: {error!r}") from error


def _instance_to_dict(instance: Instance) -> dict[str, Any]:
    return {"box_xyxy": list(instance.box_xyxy), "score": instance.score, "rle": instance.rle}


def _instance_from_dict(values: dict[str, Any], size_hw: tuple[int, int]) -> Instance:
    left, top, right, bottom = values["box_xyxy"]
    rle = Rle(size=list(values["rle"]["size"]), counts=str(values["rle"]["counts"]))
    return Instance((left, top, right, bottom), float(values["score"]), rle, size_hw)

"""The annotation of one image: every file format is written from it and read to it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import DataError
from promptseg.ops.rle import Rle
from promptseg.results import Instance, QueryResult


@dataclass(frozen=True, eq=False)
class Region:
    """One class in one image.

    Attributes:
        label: Name of the class.
        score: Probability that the class is in the image, in [0, 1]; 1 if a format does not keep it.
        area: All of its pixels, including small parts that belong to no instance.
        instances: Its objects.
    """

    label: str
    score: float
    area: Instance
    instances: tuple[Instance, ...]

    def __repr__(self) -> str:
        return f"<Region {self.label!r} score={self.score:.2f} instances={len(self.instances)}>"

    @classmethod
    def from_instances(
        cls, label: str, instances: tuple[Instance, ...], *, area: NDArray[np.bool_] | None = None, score: float = 0.0
    ) -> "Region":
        """Create a region of one or more objects.

        Args:
            label: Name of the class.
            instances: Its objects.
            area: All of its pixels, bool, shape (H, W); None: the union of the objects.
            score: Score of the class; the score of its best object is taken if it is higher.
        """
        score = max(score, *(instance.score for instance in instances))
        if area is None:
            area = np.logical_or.reduce([instance.mask for instance in instances])
        return cls(label, score, Instance.from_mask(area, score), instances)


@dataclass(frozen=True, eq=False)
class Annotation:
    """The classes and objects in one image.

    Attributes:
        file_name: File name of the image in its data set; the part before the last dot is unique there.
        size_hw: Height and width of the image, pixels.
        regions: One for each class in the image.
    """

    file_name: str
    size_hw: tuple[int, int]
    regions: tuple[Region, ...]

    def __repr__(self) -> str:
        num_instances = sum(len(region.instances) for region in self.regions)
        return f"<Annotation {self.file_name!r} regions={len(self.regions)} instances={num_instances}>"

    @classmethod
    def from_results(cls, results: Iterable[QueryResult], file_name: str, size_hw: tuple[int, int]) -> "Annotation":
        """Convert results of one image, without unsure ones; queries of the same label become one region.

        Args:
            results: Of any number of queries.
            file_name: File name of the image.
            size_hw: Height and width of the image, pixels.
        """
        by_label: dict[str, list[QueryResult]] = {}
        for result in results:
            by_label.setdefault(result.label, []).append(result)
        regions = []
        for label, same_label in by_label.items():
            found = [result for result in same_label if result.is_present and result.area]
            if not found:
                continue
            score = max(result.presence for result in found)
            area = found[0].whole
            if len(found) > 1:
                area = Instance.from_mask(np.logical_or.reduce([result.mask for result in found]), score)
            instances = tuple(instance for result in found for instance in result.instances)
            regions.append(Region(label, score, area, instances))
        return cls(file_name, size_hw, tuple(regions))

    @classmethod
    def from_objects(
        cls, file_name: str, size_hw: tuple[int, int], objects: list[tuple[str, Instance]]
    ) -> "Annotation":
        """Group labeled objects by label; regions come in the order in which their labels first appear."""
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
        """Yield every object with its label."""
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
        """Read what `to_dict` returned.

        Raises:
            DataError: A value is missing or malformed.
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
    described = {"box_xyxy": list(instance.box_xyxy), "score": instance.score, "rle": instance.rle}
    return described | describe_quality(instance)


def describe_quality(instance: Instance) -> dict[str, float]:
    """Describe the mask quality as a JSON item; none if it is unknown."""
    return {} if instance.mask_quality is None else {"mask_quality": instance.mask_quality}


def _instance_from_dict(values: dict[str, Any], size_hw: tuple[int, int]) -> Instance:
    left, top, right, bottom = values["box_xyxy"]
    rle = Rle(size=list(values["rle"]["size"]), counts=str(values["rle"]["counts"]))
    quality = values.get("mask_quality")
    return Instance(
        (left, top, right, bottom),
        float(values["score"]),
        rle,
        size_hw,
        mask_quality=None if quality is None else float(quality),
    )

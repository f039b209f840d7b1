"""The true panoptic map of an annotated image."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from promptseg.data.sample import Sample, instance_masks, target_mask, union_mask
from promptseg.language.class_list import NamedClass
from promptseg.language.phrases import normalize_phrase


@dataclass(frozen=True, eq=False)
class TrueSegments:
    """The true segments of an image.

    Attributes:
        ids: True segment of each pixel, int32, shape (H, W); 0: no truth is known.
        class_of_id: Class of each segment, from 0.
        crowd_ids: Segments that are groups of things.
    """

    ids: NDArray[np.int32]
    class_of_id: dict[int, int]
    crowd_ids: frozenset[int] = frozenset()

    def mask(self, class_index: int) -> NDArray[np.bool_]:
        """Give the pixels of a class, bool, shape (H, W)."""
        own = [number for number, one in self.class_of_id.items() if one == class_index]
        return np.isin(self.ids, own) if own else np.zeros(self.ids.shape, dtype=np.bool_)


def list_classes(samples: Iterable[Sample]) -> tuple[NamedClass, ...]:
    """List the classes that the masks of a data set annotate, things first, and all that it declares complete.

    Names that are complete but have no mask are things, as in COCO.
    """
    kinds: dict[str, bool] = {}
    complete: set[str] = set()
    for sample in samples:
        complete |= sample.exhaustive
        for target in sample.with_evidence("mask"):
            kinds.setdefault(target.phrase, target.kind == "thing")
    kinds |= {name: True for name in complete if name not in kinds}
    return tuple(
        NamedClass(name, (), kinds[name], "mark") for name in sorted(kinds, key=lambda one: (not kinds[one], one))
    )


def choose_mapped(samples: Sequence[Sample], classes: Sequence[NamedClass]) -> tuple[Sample, ...]:
    """Choose the images whose pixels are annotated: where stuff is asked for, those that have a mask of it."""
    stuff = {normalize_phrase(name) for one in classes if not one.is_thing for name in one.phrases}
    if not stuff:
        return tuple(samples)
    return tuple(
        sample
        for sample in samples
        if any(normalize_phrase(target.phrase) in stuff for target in sample.with_evidence("mask"))
    )


def build_true_segments(sample: Sample, classes: Sequence[NamedClass]) -> TrueSegments:
    """Paint the annotation of an image: stuff first, things over it, crowds where nothing else is.

    Args:
        sample: An annotated image.
        classes: Other names have no truth.

    Raises:
        DataError: A mask is malformed or of another size.
    """
    index_of = {normalize_phrase(name): index for index, one in enumerate(classes) for name in one.phrases}
    targets = [
        (index_of[normalize_phrase(target.phrase)], target)
        for target in sample.with_evidence("mask")
        if normalize_phrase(target.phrase) in index_of
    ]
    targets.sort(key=lambda item: classes[item[0]].is_thing)
    ids = np.zeros(sample.size_hw, dtype=np.int32)
    class_of_id: dict[int, int] = {}
    for class_index, target in targets:
        if classes[class_index].is_thing:
            masks = instance_masks(target, sample.size_hw)
        else:
            masks = target_mask(target, sample.size_hw)[None]
        for mask in masks:
            class_of_id[len(class_of_id) + 1] = class_index
            ids[mask] = len(class_of_id)
    crowds = set()
    for class_index, target in targets:
        if target.void and classes[class_index].is_thing:
            number = len(class_of_id) + 1
            class_of_id[number] = class_index
            ids[union_mask(target.void, sample.size_hw) & (ids == 0)] = number
            crowds.add(number)
    seen = set(np.unique(ids).tolist())
    return TrueSegments(
        ids,
        {number: class_index for number, class_index in class_of_id.items() if number in seen},
        frozenset(crowds & seen),
    )

"""This project's named sets: the queries of each evaluation set, and the images and names of the training sets.

An evaluation set is one index of the data directory, read as its annotation means it. Training sets are all the others,
without the images and names that are held out.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from lab.held_out import SAME_AS_EVALUATION, is_held_out_region_image, to_training_sample
from promptseg.data.jsonl import PseudoMasks, load_lines, read_jsonl
from promptseg.data.negatives import absent_names, count_cooccurrence, draw_names, present_names
from promptseg.data.sample import Problem, Sample, SampleSet, Target, encode_box
from promptseg.errors import DataError
from promptseg.evaluate.absent_phrases import add_absent_phrases
from promptseg.language.class_names import CAMVID_NAMES, COCO_THINGS

Absent = Literal["exhaustive", "none"]


@dataclass(frozen=True)
class EvalSet:
    """How an evaluation set is read.

    Attributes:
        index: The file of the data directory, without its suffix.
        summary: One line for people.
        absent: Absent queries: as many as present ones, from the complete names; or none.
        class_names: Names that together label every pixel, each a query for every image; empty: the annotated phrases.
    """

    index: str
    summary: str
    absent: Absent = "none"
    class_names: tuple[str, ...] = ()


EVAL_SETS: Mapping[str, EvalSet] = {
    "coco_dev": EvalSet("coco_dev", "80 things, and stuff where it is annotated; as many absent things", "exhaustive"),
    "camvid_val": EvalSet("camvid_val", "street scenes, 11 names for every image", class_names=CAMVID_NAMES),
    "davis_dev": EvalSet("davis_dev", "one phrase for each of 10 videos"),
    "clothes_dev": EvalSet("clothes_dev", "clothes that people wear"),
    "carparts_dev": EvalSet("carparts_dev", "parts of cars, by side"),
    "faces_dev": EvalSet("faces_dev", "parts of faces"),
    "fss_dev": EvalSet("fss_dev", "a name kept out of training: apple"),
    "pets_dev": EvalSet("pets_dev", "names kept out of training: breeds of cats"),
    "regions": EvalSet("coco_boxes", "human referring phrases on held-out images"),
}

EVALUATION_INDEXES = frozenset(definition.index for definition in EVAL_SETS.values()) - {"coco_boxes"}
"""Indexes that hold evaluation images only; they get no pseudo-masks."""

# Phrases of the form "the NAME <relation> the NAME" come from a table of relations (VSR), not from a person.
_NAME = f"(?:{'|'.join(COCO_THINGS)})"
_RELATED_NAMES = re.compile(
    rf"the {_NAME} (?:above|alongside|at the (?:left |right )?side of|attached to|(?:far )?away from|behind|below|"
    r"beneath|beside|by|close to|facing|in front of|in|inside|left of|near|next to|off|on top of|on|part of|"
    rf"perpendicular to|right of|surrounding|touching|under) the {_NAME}"
)


def load_eval_set(name: str, data_dir: Path, *, pseudo_masks: PseudoMasks | None = None, seed: int = 0) -> SampleSet:
    """Load an evaluation set.

    Args:
        name: A key of `EVAL_SETS`.
        data_dir: Holds the index files and image directories.
        pseudo_masks: For "regions" only, where people drew boxes: masks with the source "region" are the ground truth
            then. Without them it is the filled box, and the target's source is "box".
        seed: Seed of the choice of absent names.

    Returns:
        Samples whose targets are the present phrases and whose `absent` are the others.

    Raises:
        DataError: No such set, or its data is missing or malformed.
    """
    if name not in EVAL_SETS:
        raise DataError(f"no evaluation set '{name}'; there are {', '.join(EVAL_SETS)}")
    definition = EVAL_SETS[name]
    index = data_dir / f"{definition.index}.jsonl"
    if name == "regions":
        return _load_regions(index, pseudo_masks)
    samples = read_jsonl(index)
    if definition.absent == "none":
        return samples
    return SampleSet(tuple(_with_absent(samples, seed)), samples.problems)


def load_samples(name: str, data_dir: Path, *, pseudo_masks: PseudoMasks | None = None) -> SampleSet:
    """Load an evaluation set, or a training set with absent phrases.

    Raises:
        DataError: The data is missing or malformed.
    """
    if name in EVAL_SETS:
        return load_eval_set(name, data_dir, pseudo_masks=pseudo_masks)
    return load_calibration_set(name, data_dir, pseudo_masks=pseudo_masks)


def load_calibration_set(name: str, data_dir: Path, *, pseudo_masks: PseudoMasks | None = None) -> SampleSet:
    """Load a training set with as many absent phrases as present ones, if so many are known.

    Raises:
        DataError: The set is for evaluation, or its data is missing or malformed.
    """
    return add_absent_phrases(load_training_set(name, data_dir, pseudo_masks=pseudo_masks))


def read_image_list(path: Path) -> frozenset[str]:
    """Read a list of images, one a line; their names may have spaces."""
    return frozenset(line for line in path.read_text(encoding="utf-8").splitlines() if line)


def load_training_set(name: str, data_dir: Path, *, pseudo_masks: PseudoMasks | None = None) -> SampleSet:
    """Load an index for training: without held-out images, which its problems list, and without held-out names.

    Args:
        name: Name of the index, without its suffix.
        data_dir: Holds the index files and image directories.
        pseudo_masks: From `load_pseudo_masks`; None: people's annotations only.

    Raises:
        DataError: The set is for evaluation, or its data is missing or malformed.
    """
    if name in EVAL_SETS:
        raise DataError(f"'{name}' is an evaluation set; training on it would spoil it")
    index = data_dir / f"{name}.jsonl"
    samples = read_jsonl(index, pseudo_masks=pseudo_masks)
    excluded = excluded_images(index)
    kept = tuple(to_training_sample(sample) for sample in samples if sample.sample_id not in excluded)
    left_out = tuple(Problem(str(index), f"{image} is held out for evaluation") for image in sorted(excluded))
    return SampleSet(kept, samples.problems + left_out)


def excluded_images(index: Path) -> frozenset[str]:
    """List the images of an index that must not be used for training, nor for anything that training uses.

    Raises:
        DataError: The index can't be read.
    """
    records = [line.record for line in load_lines(index)]
    if index.stem in EVAL_SETS:
        return frozenset(record["image"] for record in records)
    return frozenset(
        record["image"]
        for record in records
        if record["image"] in SAME_AS_EVALUATION or is_held_out_region_image(record)
    )


def is_derived_phrase(phrase: str) -> bool:
    """Whether a region's phrase was made from a table of relations between two names, not written by a person."""
    return _RELATED_NAMES.fullmatch(phrase) is not None


def _load_regions(index: Path, pseudo_masks: PseudoMasks | None) -> SampleSet:
    held_out = {line.record["image"] for line in load_lines(index) if is_held_out_region_image(line.record)}
    samples = read_jsonl(index, pseudo_masks=pseudo_masks)
    held_out_samples = (
        replace(sample, targets=tuple(_region_truths(sample)), exhaustive=frozenset())
        for sample in samples
        if sample.sample_id in held_out
    )
    return SampleSet(tuple(sample for sample in held_out_samples if sample.targets), samples.problems)


def _region_truths(sample: Sample) -> Iterator[Target]:
    for target in sample.targets:
        if target.kind != "phrase" or is_derived_phrase(target.phrase):
            continue
        if target.evidence == "mask" and target.source == "region":
            yield target
        elif target.evidence == "box":
            boxes = tuple(encode_box(box_xyxy, sample.size_hw) for box_xyxy in target.boxes_xyxy)
            yield replace(target, masks=boxes, boxes_xyxy=(), source="box")


def _with_absent(samples: SampleSet, seed: int) -> Iterator[Sample]:
    """Add as many absent names as there are present ones; half of them often occur with the present ones."""
    cooccurrence = count_cooccurrence(samples)
    for sample in samples:
        # One generator per image: leaving an image out does not change the names of the others.
        rng = np.random.default_rng([seed, *sample.sample_id.encode()])
        names = absent_names(sample, sorted(sample.exhaustive))
        count = min(len(sample.with_evidence("mask")), len(names))
        hard = draw_names(names, cooccurrence.weigh(names, present_names(sample)), (count + 1) // 2, rng)
        rest = [name for name in names if name not in hard]
        easy = draw_names(rest, np.ones(len(rest)), count - len(hard), rng)
        yield replace(sample, absent=(*hard, *easy))

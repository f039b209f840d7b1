"""Readers of RefCOCO, RefCOCO+, RefCOCOg and gRefCOCO: referring sentences for COCO's train2014 images.

    refcoco/ refcoco+/ refcocog/
      refs(unc).p, refs(umd).p or refs(google).p   a pickle: [{ref_id, ann_id, image_id, split, sentences [{sent}]}]
      instances.json                               COCO's layout
    grefcoco/
      grefs(unc).json                              the same, but ann_id is a list: several objects, or [-1] for none
      instances.json
    images/mscoco/images/train2014/COCO_train2014_*.jpg   (or images/train2014/, or train2014/)

Source:
    Kazemzadeh et al. 2014; Yu et al. 2016, arXiv:1608.00272; Mao et al. 2016, arXiv:1511.02283; lichengunc/refer
    @ e3bbaa3, refer.py (Apache-2.0). Liu et al. 2023, arXiv:2306.00968; henghuiding/gRefCOCO @ 41a8f00, grefer.py.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from promptseg.data.coco_instances import CocoInstances, annotation_rle, load_instances
from promptseg.data.jsonl import Line
from promptseg.data.layout import Tree, image_problem, lines_of, load_json
from promptseg.data.plain_pickle import load_plain_pickle
from promptseg.data.sample import Problem, Sample, SampleSet, Target
from promptseg.errors import DataError
from promptseg.language.phrases import normalize_phrase

Dataset = Literal["refcoco", "refcoco+", "refcocog"]
SplitBy = Literal["unc", "umd", "google"]
Split = Literal["train", "val", "test", "testA", "testB"]

# Splits by data set and by the group that defined them.
SPLITS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("refcoco", "unc"): ("train", "val", "testA", "testB"),
    ("refcoco", "google"): ("train", "val", "test"),
    ("refcoco+", "unc"): ("train", "val", "testA", "testB"),
    ("refcocog", "umd"): ("train", "val", "test"),
    ("refcocog", "google"): ("train", "val"),
    ("grefcoco", "unc"): ("train", "val", "testA", "testB"),
}

SOURCE = "https://github.com/lichengunc/refer"
GREFCOCO_SOURCE = "https://github.com/henghuiding/gRefCOCO"
IMAGES_SOURCE = "http://images.cocodataset.org/zips/train2014.zip"
IMAGES = ("images/mscoco/images/train2014", "images/train2014", "train2014")
LICENCE = "annotations: none stated, COCO's own CC BY 4.0; images under Flickr/COCO terms"

NO_TARGET = -1


def read_refcoco(root: Path, dataset: Dataset, split_by: SplitBy, split: Split) -> SampleSet:
    """Read one split of RefCOCO, RefCOCO+ or RefCOCOg.

    Every sentence is a target: (image, sentence) is one example, as in the published tables. The sentences of one
    object are alternatives of each other; the object's COCO class is the category. A sentence that refers to two
    objects of an image makes two targets.

    Args:
        root: Folder with one folder per data set, and the images.
        dataset: One of the three data sets.
        split_by: The group that defined the splits, see `SPLITS`. Google's splits divide objects, not images: one image
            may be in "train" and in "val".
        split: Name of the split.

    Returns:
        The samples, one per image, with `coco_id`; and everything that was left out.

    Raises:
        DataError: There is no such split; or a file is missing (the message names the source), is malformed, or is a
            pickle that names a class.
    """
    _check_split(dataset, split_by, split)
    tree = Tree(dataset, root, SOURCE)
    refs = tree.file(f"{dataset}/refs({split_by}).p")
    return _read(tree, dataset, load_plain_pickle, refs, split)


def read_grefcoco(root: Path, split: Split) -> SampleSet:
    """Read one split of gRefCOCO, whose sentences refer to one object, several, or none.

    As `read_refcoco`; a sentence for several objects is a target with several masks, and one for no object in the image
    is in the sample's `absent`.

    Raises:
        DataError: As `read_refcoco`.
    """
    _check_split("grefcoco", "unc", split)
    tree = Tree("grefcoco", root, GREFCOCO_SOURCE)
    refs = tree.file("grefcoco/grefs(unc).json", "grefcoco/grefs(unc).p")
    return _read(tree, "grefcoco", load_json if refs.suffix == ".json" else load_plain_pickle, refs, split)


def without_images_of(samples: SampleSet, held_out: SampleSet) -> SampleSet:
    """Remove the images that another set also contains, by COCO id.

    RefCOCO, RefCOCO+ and RefCOCOg divide the same images differently: training images of one are test images of
    another.
    """
    held_out_ids = {sample.coco_id for sample in held_out} - {None}
    kept = tuple(sample for sample in samples if sample.coco_id not in held_out_ids)
    left_out = tuple(
        Problem(sample.sample_id, f"COCO image {sample.coco_id} is held out")
        for sample in samples
        if sample.coco_id in held_out_ids
    )
    return SampleSet(kept, samples.problems + left_out)


def _check_split(dataset: str, split_by: str, split: str) -> None:
    if split not in SPLITS.get((dataset, split_by), ()):
        known = "; ".join(f"{name} by {group}: {', '.join(parts)}" for (name, group), parts in SPLITS.items())
        raise DataError(f"no split '{split}' of {dataset} by {split_by}; there are {known}")


def _read(tree: Tree, dataset: str, load: Callable[[Path], Any], refs_path: Path, split: str) -> SampleSet:
    instances_path = tree.file(f"{dataset}/instances.json")
    images = tree.folder(*IMAGES, source=IMAGES_SOURCE)
    refs_by_image: dict[int, list[Line]] = {}
    for line in lines_of(load(refs_path), str(refs_path)):
        if line.require(line.record, "split", str) == split:
            refs_by_image.setdefault(line.require(line.record, "image_id", int), []).append(line)
    instances = load_instances(instances_path)
    problems: list[Problem] = []
    samples = []
    for image_id, refs in refs_by_image.items():
        if image_id not in instances.images:
            problems.append(Problem(refs[0].where, f"{instances_path} has no image {image_id}"))
            continue
        path = images / instances.file_name(image_id)
        if problem := image_problem(path, instances.size_hw(image_id)):
            problems.append(problem)
            continue
        sample = Sample(
            sample_id=f"{dataset}/{image_id}",
            image=path,
            size_hw=instances.size_hw(image_id),
            dataset=dataset,
            license=LICENCE,
            coco_id=image_id,
        )
        samples.append(_with_sentences(sample, refs, instances, problems))
    kept = tuple(sample for sample in samples if sample.targets or sample.absent)
    if not kept:
        first = f"; for one, {problems[0]}" if problems else ""
        raise DataError(f"{refs_path}: no sentence of split {split} has its image{first}")
    return SampleSet(kept, tuple(problems))


def _with_sentences(sample: Sample, refs: Sequence[Line], instances: CocoInstances, problems: list[Problem]) -> Sample:
    targets: list[Target] = []
    absent: list[str] = []
    for ref in refs:
        sentences = tuple(_sentences(ref))
        ids = ref.require(ref.record, "ann_id", (int, list))
        ids = ids if isinstance(ids, list) else [ids]
        if not all(isinstance(each, int) for each in ids):
            raise DataError(f"{ref.where}: field 'ann_id' must hold whole numbers, got {ids!r:.80}")
        missing = [annotation_id for annotation_id in ids if annotation_id not in instances.annotations]
        if ids == [NO_TARGET]:
            absent += sentences
        elif missing or not ids:
            problems.append(Problem(ref.where, f"instances.json has no annotation {missing}"))
        else:
            targets += _targets(sentences, [instances.annotations[one] for one in ids], sample.size_hw, instances)
    return replace(sample, targets=tuple(targets), absent=tuple(absent))


def _sentences(ref: Line) -> Iterator[str]:
    for line in lines_of(ref.record.get("sentences"), f"{ref.where}, sentences"):
        yield normalize_phrase(line.require(line.record, "sent", str))


def _targets(
    sentences: Sequence[str], objects: Sequence[Line], size_hw: tuple[int, int], instances: CocoInstances
) -> Iterator[Target]:
    masks = tuple(annotation_rle(annotation, size_hw) for annotation in objects)
    for sentence in sentences:
        yield Target(
            phrase=sentence,
            kind="phrase",
            masks=masks,
            alternatives=tuple(other for other in dict.fromkeys(sentences) if other != sentence),
            category=instances.class_name(objects[0]),
        )

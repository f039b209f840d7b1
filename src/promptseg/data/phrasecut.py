"""Reader of PhraseCut: phrases for Visual Genome images, each with the polygons of all instances that it refers to.

    VGPhraseCut_v0/
      image_data_split.json  [{image_id, coco_id, width, height, split}]
      refer_SPLIT.json       [{task_id, image_id, phrase, phrase_structure {name}, Polygons [[[[x, y]]]]}]
      images/IMAGE_ID.jpg

Source:
    Wu et al. 2020, arXiv:2008.01187; ChenyunWu/PhraseCutDataset @ 276470b, utils/{refvg_loader,data_transfer}.py.
    The images left out are those of CLIPSeg's reader, timojl/clipseg @ 77c4e2d, datasets/phrasecut.py (MIT). Its masks
    differ from these at the border: it rasterizes with scikit-image; the authors of the data set, and we, use Pillow.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from PIL import Image, ImageDraw

from promptseg.data.jsonl import Line
from promptseg.data.layout import Tree, image_problem, lines_of, load_json
from promptseg.data.sample import Mask, Problem, Sample, SampleSet, Target
from promptseg.errors import DataError
from promptseg.language.phrases import normalize_phrase
from promptseg.ops.rle import Rle, encode_rle

Split = Literal["train", "val", "test", "miniv"]
SPLITS: tuple[str, ...] = get_args(Split)

SOURCE = "https://github.com/ChenyunWu/PhraseCutDataset (python download_dataset.py)"
LICENCE = "images and their annotation: Visual Genome, CC BY 4.0; PhraseCut's authors state none for their own"

# Images of another size than their annotation, which CLIPSeg leaves out of every split.
SKIPPED_IMAGE_IDS = frozenset((
    61530, 61564, 150333, 150344, 150417, 150516, 285665, 285743, 285761, 285814, 286065, 286093, 498010, 498042,
    498187, 498246, 498269,
))  # fmt: skip


def read_phrasecut(root: Path, split: Split) -> SampleSet:
    """Read one split of PhraseCut.

    Every task is a separate target, in the order of the file: (image, phrase) is one example, and the noun of the
    phrase is its category. There is one mask per instance.

    Args:
        root: The folder VGPhraseCut_v0, or its parent.
        split: "val" does not contain "miniv"; the authors' whole validation set is `read_phrasecut(root, "val") +
            read_phrasecut(root, "miniv")`.

    Returns:
        The samples, and everything that was left out: the images that CLIPSeg leaves out, images that are missing or
        have another size than their annotation, polygons that enclose no pixel.

    Raises:
        DataError: A file is missing (the message names its source) or malformed, the split is unknown, or no sample is
            left.
    """
    if split not in SPLITS:
        raise DataError(f"PhraseCut has no split '{split}'; there are {', '.join(SPLITS)}")
    tree = Tree("PhraseCut", root / "VGPhraseCut_v0" if (root / "VGPhraseCut_v0").is_dir() else root, SOURCE)
    refer = tree.file(f"refer_{split}.json")
    images = tree.folder("images")
    lines = _load_images(tree.file("image_data_split.json", "image_data_split3000.json"))
    problems: list[Problem] = []
    samples = []
    for image_id, tasks in _tasks_by_image(refer).items():
        if image_id not in lines:
            problems.append(Problem(tasks[0].where, f"image_data_split.json has no image {image_id}"))
            continue
        sample = _read_sample(images / f"{image_id}.jpg", lines[image_id], tasks, problems)
        samples += [sample] if sample else []
    if not samples:
        first = f"; for one, {problems[0]}" if problems else ""
        raise DataError(f"{refer}: not one phrase with its image{first}")
    return SampleSet(tuple(samples), tuple(problems))


def _load_images(path: Path) -> dict[int, Line]:
    return {line.require(line.record, "image_id", int): line for line in lines_of(load_json(path), str(path))}


def _tasks_by_image(path: Path) -> dict[int, list[Line]]:
    tasks: dict[int, list[Line]] = {}
    for line in lines_of(load_json(path), str(path)):
        tasks.setdefault(line.require(line.record, "image_id", int), []).append(line)
    return tasks


def _read_sample(path: Path, image: Line, tasks: Sequence[Line], problems: list[Problem]) -> Sample | None:
    size_hw = image.size_hw()
    image_id = image.record["image_id"]
    if image_id in SKIPPED_IMAGE_IDS:
        problems.append(Problem(str(path), f"its {len(tasks)} phrases are of another size; CLIPSeg leaves it out too"))
        return None
    if problem := image_problem(path, size_hw):
        problems.append(problem)
        return None
    targets = tuple(_targets(tasks, size_hw, problems))
    if not targets:
        return None
    return Sample(
        sample_id=f"phrasecut/{image_id}",
        image=path,
        size_hw=size_hw,
        targets=targets,
        dataset="phrasecut",
        license=LICENCE,
        coco_id=image.record.get("coco_id"),
    )


def _targets(tasks: Sequence[Line], size_hw: tuple[int, int], problems: list[Problem]) -> Iterator[Target]:
    for task in tasks:
        structure: Mapping[str, Any] = task.require(task.record, "phrase_structure", dict)
        instances = task.require(task.record, "Polygons", list)
        masks = [mask for polygons in instances if (mask := _rasterize(task, polygons, size_hw))]
        if len(masks) < len(instances) or not masks:
            what = f"{len(instances) - len(masks)} of {len(instances)} instances enclose nothing in the image"
            problems.append(Problem(task.where, what))
        if masks:
            yield Target(
                phrase=normalize_phrase(task.require(task.record, "phrase", str)),
                kind="phrase",
                masks=tuple(masks),
                category=task.require(structure, "name", str),
            )


def _rasterize(task: Line, polygons: Sequence[Sequence[Sequence[float]]], size_hw: tuple[int, int]) -> Rle | None:
    """Fill the polygons of an instance like the data set's authors: truncated corners, the outline is inside.

    Raises:
        DataError: The polygons are malformed.
    """
    canvas = Image.new("1", (size_hw[1], size_hw[0]))
    draw = ImageDraw.Draw(canvas)
    try:
        for polygon in polygons:
            if len(polygon) >= 2:
                draw.polygon([(int(x), int(y)) for x, y in polygon], fill=1, outline=1)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{task.where}: Polygons must be [instance][polygon][x, y] ({error})") from error
    mask: Mask = np.asarray(canvas)
    return encode_rle(mask) if mask.any() else None

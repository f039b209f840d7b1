"""Reader of the data sets that `promptseg.write` and `autolabel` write, as samples to train on and to measure with.

The files of the format are read, so what a person mended in them counts. A class of the class map that an image does
not show is known to be absent there: `autolabel` looks for every class in every image.
"""

from collections import defaultdict
from pathlib import Path

import numpy as np

from promptseg.data.merge_annotations import TargetAssembler
from promptseg.data.sample import Problem, Sample, SampleSet
from promptseg.errors import DataError, ImageError
from promptseg.formats.annotation import Annotation
from promptseg.formats.dataset import read, read_sources, stated_format
from promptseg.formats.dataset_writer import STATE_FILE
from promptseg.formats.table import find_format
from promptseg.image_files import IMAGE_SUFFIXES
from promptseg.images import read_image
from promptseg.language.phrases import normalize_phrase
from promptseg.ops.rle import encode_rle


def is_written_dataset(directory: Path) -> bool:
    """Tell whether a directory holds a data set that `promptseg.write` wrote."""
    return (directory / STATE_FILE).is_file()


def read_dataset_folder(directory: Path) -> SampleSet:
    """Read a data set that `promptseg.write` wrote.

    Args:
        directory: Of the data set. A format that holds no images (png, npz, geojson) finds them where they were when it
            was written, or in `images/`.

    Returns:
        The samples, and what was left out of them: shapes that enclose nothing, images that are missing or of another
        size than their annotation, images without an annotation.

    Raises:
        DataError: A file is missing or malformed, or no image is left.
    """
    dataset = read(directory)
    problems = [Problem(each.where, each.what) for each in dataset.left_out]
    folder = find_format(stated_format(directory)).images
    sources = _find_sources(directory) if folder is None else {}
    unknown = defaultdict(set)
    for each in dataset.left_out:
        unknown[each.file_name].add(each.label)
    samples = []
    found: set[Path] = set()
    for annotation in dataset.annotations:
        path = sources.get(annotation.stem, directory / (folder or "images") / annotation.file_name)
        found.add(path)
        try:
            size_hw = read_image(path).shape[:2]
        except ImageError as error:
            problems.append(Problem.from_error(path, error))
            continue
        if size_hw != annotation.size_hw:
            what = f"the image is {size_hw} (height, width), its annotation {annotation.size_hw}"
            problems.append(Problem(str(path), what, is_failure=True))
            continue
        classes = tuple(name for name in dataset.classes if name not in unknown[annotation.file_name])
        samples.append(_to_sample(directory, path, annotation, classes))
    if folder is not None and (directory / folder).is_dir():
        for path in sorted((directory / folder).iterdir()):
            if path.suffix.lower() in IMAGE_SUFFIXES and path not in found and not path.name.startswith("."):
                problems.append(Problem(str(path), "no annotation"))
    if not samples:
        example = f"; for example, {problems[0]}" if problems else ""
        raise DataError(f"{directory}: a data set without an image that can be read{example}")
    return SampleSet(tuple(samples), tuple(problems))


def _find_sources(directory: Path) -> dict[str, Path]:
    """Find the images of a format that holds none, by the stem of their annotation: beside it, or where they were."""
    images = [path for path in sorted((directory / "images").glob("*")) if path.suffix.lower() in IMAGE_SUFFIXES]
    # reversed, so that of several images of one stem the first one stays
    return read_sources(directory) | {path.stem: path for path in reversed(images)}


def _to_sample(directory: Path, path: Path, annotation: Annotation, classes: tuple[str, ...]) -> Sample:
    assembler = TargetAssembler(annotation.size_hw)
    present = set()
    for region in annotation.regions:
        if not region.area.area:
            continue
        present.add(region.label)
        for instance in region.instances or (region.area,):
            if instance.area:
                assembler.add_mask(region.label, instance.to_rle(), kind="phrase")
        # Small parts that belong to no object: neither inside nor outside.
        small_parts = region.area.mask.copy()
        for instance in region.instances:
            small_parts &= ~instance.mask
        if region.instances and np.any(small_parts):
            assembler.add_void(region.label, encode_rle(small_parts))
    return Sample(
        sample_id=path.relative_to(directory).as_posix() if path.is_relative_to(directory) else path.name,
        image=path,
        size_hw=annotation.size_hw,
        targets=assembler.targets(),
        absent=tuple(normalize_phrase(name) for name in classes if name not in present),
        dataset=directory.name,
    )

"""Readers of true maps as they are distributed: COCO's panoptic format, and images of class numbers.

An image is read when its map is asked for; a reader only lists the files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.data.jsonl import Line
from promptseg.data.layout import lines_of, load_json
from promptseg.data.sample import Problem
from promptseg.data.true_segments import TrueSegments
from promptseg.errors import DataError
from promptseg.ops.index_images import decode_segment_ids


@dataclass(frozen=True)
class MappedImage:
    """An image with a true map.

    Attributes:
        sample_id: Its id in the data set.
        image: The file.
        load_truth: Reads the map.
    """

    sample_id: str
    image: Path
    load_truth: Callable[[], TrueSegments]


@dataclass(frozen=True)
class MappedSet:
    """The images of a data set that were found, and those that were not."""

    images: tuple[MappedImage, ...]
    problems: tuple[Problem, ...] = ()


def read_panoptic(
    index: Path, maps: Path, find_image: Callable[[str], Path], class_of_name: Callable[[str], int | None]
) -> MappedSet:
    """Read a data set in COCO's panoptic format.

    Args:
        index: The JSON file.
        maps: Folder of the PNG files.
        find_image: Gives the image file, from the name of the PNG without its suffix.
        class_of_name: Gives the class of a category by its name, from 0; None: it is no class.

    Raises:
        DataError: The JSON can't be read, does not have this format, or has a category that is no class.
    """
    content = load_json(index)
    if not isinstance(content, dict):
        raise DataError(f"{index}: expected an object with annotations and categories")
    classes: dict[int, int] = {}
    for line in lines_of(content.get("categories"), f"{index}, categories"):
        name = str(line.require(line.record, "name", str))
        class_index = class_of_name(name)
        if class_index is None:
            raise DataError(f"{line.where}: the category {name!r} is no class of this benchmark")
        classes[line.require(line.record, "id", int)] = class_index
    images, problems = [], []
    for line in lines_of(content.get("annotations"), f"{index}, annotations"):
        png = maps / Path(line.require(line.record, "file_name", str)).name
        image = find_image(png.stem)
        missing = next((path for path in (image, png) if not path.is_file()), None)
        if missing is not None:
            problems.append(Problem(str(missing), "no such file"))
            continue
        images.append(MappedImage(png.stem, image, partial(_load_panoptic, line, png, classes)))
    return MappedSet(tuple(images), tuple(problems))


def _load_panoptic(line: Line, png: Path, classes: Mapping[int, int]) -> TrueSegments:
    """Read the map of one annotation.

    Raises:
        DataError: The PNG is damaged, or its segments are not those of the JSON.
    """
    try:
        with Image.open(png) as image:
            ids = decode_segment_ids(np.asarray(image))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{png}: not a PNG of segments ({error})") from error
    class_of_id: dict[int, int] = {}
    crowds = set()
    for segment in lines_of(line.record.get("segments_info"), f"{line.where}, segments_info"):
        number = segment.require(segment.record, "id", int)
        category = segment.require(segment.record, "category_id", int)
        if category not in classes:
            raise DataError(f"{segment.where}: no category {category} in the file")
        class_of_id[number] = classes[category]
        if segment.record.get("iscrowd"):
            crowds.add(number)
    shown = set(np.unique(ids).tolist()) - {0}
    if stranger := min(shown - set(class_of_id), default=0):
        raise DataError(f"{png}: has the segment {stranger}, which segments_info of {line.where} lacks")
    if absent := min(set(class_of_id) - shown, default=0):
        raise DataError(f"{png}: lacks the segment {absent}, which segments_info of {line.where} has")
    return TrueSegments(ids, class_of_id, frozenset(crowds))


def read_semantic(
    pairs: Sequence[tuple[Path, Path]], class_of_value: Mapping[int, int], *, ignored: frozenset[int]
) -> MappedSet:
    """Read images of class numbers; each class is one segment.

    Args:
        pairs: Image and map of each picture.
        class_of_value: Class of each number in the maps, from 0.
        ignored: Numbers of pixels without a truth.
    """
    images, problems = [], []
    for image, png in pairs:
        missing = next((path for path in (image, png) if not path.is_file()), None)
        if missing is not None:
            problems.append(Problem(str(missing), "no such file"))
        else:
            images.append(MappedImage(image.stem, image, partial(_load_semantic, png, class_of_value, ignored)))
    return MappedSet(tuple(images), tuple(problems))


def _load_semantic(png: Path, class_of_value: Mapping[int, int], ignored: frozenset[int]) -> TrueSegments:
    """Read one map of class numbers, 8 or 16 bits.

    Raises:
        DataError: It is damaged, has colors, or a number that is no class.
    """
    try:
        with Image.open(png) as image:
            values: NDArray[np.int64] = np.asarray(image).astype(np.int64)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{png}: can't be read ({error})") from error
    if values.ndim != 2:
        raise DataError(f"{png}: an image of class numbers is gray or has a palette, this one has colors")
    ids = np.zeros(values.shape, dtype=np.int32)
    class_of_id = {}
    for value in np.unique(values).tolist():
        if value in class_of_value:
            class_of_id[class_of_value[value] + 1] = class_of_value[value]
            ids[values == value] = class_of_value[value] + 1
        elif value not in ignored:
            raise DataError(f"{png}: {value} is no class number")
    return TrueSegments(ids, class_of_id)


def pair_files(images: Path, maps: Path, *, suffix: str) -> Iterator[tuple[Path, Path]]:
    """Pair the images of a folder with the maps of the same stem in another, sorted.

    Raises:
        DataError: There is no such folder, or no image in it.
    """
    found = sorted(images.rglob("*.jpg"))
    if not found:
        raise DataError(f"{images}: no images (*.jpg)")
    for image in found:
        yield image, maps / image.relative_to(images).with_suffix(suffix)

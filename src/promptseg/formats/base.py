"""The record of a file format, and what all formats share: image files, class maps, text, JSON and PNG files."""

import io
import json
import shutil
import struct
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg import untrusted_files
from promptseg.errors import DataError, ImageError, OutputError
from promptseg.formats.annotation import Annotation
from promptseg.images import EXIF_ORIENTATION, check_stated_size, open_image
from promptseg.ops.atomic import atomic_file
from promptseg.results import Instance
from promptseg.untrusted_files import check_png, open_file, parse_json

CLASS_MAP = "classes.txt"

# Control characters and lone surrogates: neither text files nor XML can hold them.
_FORBIDDEN_CATEGORIES = frozenset({"Cc", "Cs"})
# What Pillow raises for a file that is damaged, no image, or of an enormous stated size.
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
# What reading a malformed document raises, including images in it.
_MALFORMED = (AttributeError, KeyError, TypeError, IndexError, OverflowError, *UNREADABLE)
# Kinds of images, as Pillow names them, that every tool for data sets opens, and their suffixes.
_SUFFIX_OF_KIND = {"BMP": ".bmp", "JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp"}
# Suffixes that every tool for data sets opens; other images are written as PNG.
_USUAL_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, eq=False)
class DataSetImage:
    """An image and its file.

    Attributes:
        size_hw: Height and width of the upright image, pixels.
        read_rgb: Gives its pixels, uint8, shape (H, W, 3), upright; few formats need them.
        path: Its file; None: it has none.
        encoded: The bytes of an encoded image inside another file, such as a tar shard; None: there are none.
    """

    size_hw: tuple[int, int]
    read_rgb: Callable[[], NDArray[np.uint8]]
    path: Path | None = None
    encoded: bytes | None = None

    @classmethod
    def of_pixels(cls, image_rgb: NDArray[np.uint8], path: Path | None = None) -> "DataSetImage":
        """Describe an image whose pixels are at hand, uint8, shape (H, W, 3), upright."""
        return cls((image_rgb.shape[0], image_rgb.shape[1]), lambda: image_rgb, path)

    @cached_property
    def kept_suffix(self) -> str | None:
        """The suffix of the file if it is kept as it is: every reader sees the upright image in it, of a common kind.

        None: it is written as PNG.

        Raises:
            ImageError: The file can't be read, or has another size than the image that was segmented.
        """
        if self.path is None and self.encoded is None:
            return None
        where = self.path or "the image"
        try:
            with self._open() as file, open_image(file) as image:
                is_upright = image.getexif().get(EXIF_ORIENTATION, 1) == 1
                size_hw, kind = (image.height, image.width), image.format
        except UNREADABLE as error:
            raise ImageError(f"{where}: not an image that can be read: {error}") from error
        # A file that is stored rotated may have height and width swapped.
        if size_hw != self.size_hw and (is_upright or size_hw[::-1] != self.size_hw):
            raise ImageError(f"{where}: {size_hw} pixels (H, W), but the results are of an image of {self.size_hw}")
        if self.path is None:
            return _SUFFIX_OF_KIND.get(kind or "") if is_upright else None
        return self.path.suffix if is_upright and self.path.suffix.lower() in _USUAL_SUFFIXES else None

    def save(self, path: Path) -> None:
        """Copy the file, byte for byte, or write a PNG if there is no file to copy."""
        with atomic_file(path) as temporary:
            if self.kept_suffix is None:
                Image.fromarray(self.read_rgb()).save(temporary, format="PNG")
            elif self.path is not None:
                shutil.copyfile(self.path, temporary)
            else:
                temporary.write_bytes(self.encoded or b"")

    def _open(self) -> BinaryIO:
        return io.BytesIO(self.encoded or b"") if self.path is None else open_file(self.path)


@dataclass(frozen=True)
class LeftOut:
    """Something in a data set that is no annotation of an area, such as a line drawn in labelme.

    Attributes:
        where: File and record.
        what: What it is.
        file_name: File name of the image.
        label: Its label; nothing is known about this label elsewhere in the image.
    """

    where: str
    what: str
    file_name: str
    label: str


@dataclass(frozen=True)
class DataSet:
    """A data set that was read.

    Attributes:
        classes: The class map: names in the order of their numbers.
        annotations: One for each image.
        left_out: Everything that is no annotation of an area.
    """

    classes: tuple[str, ...]
    annotations: tuple[Annotation, ...]
    left_out: tuple[LeftOut, ...] = ()

    def __repr__(self) -> str:
        left_out = f" left_out={len(self.left_out)}" if self.left_out else ""
        return f"<DataSet images={len(self.annotations)} classes={len(self.classes)}{left_out}>"


@dataclass(frozen=True)
class Format:
    """One file format; docs/formats.md describes what each one keeps, and which tools read it.

    Attributes:
        name: The value of the argument `format`.
        images: Folder in the data set that holds the images; None: images are not copied.
        write_image: Writes the files of one image (directory, annotation, classes, image); None: there are none.
        write_index: Writes the files that span all images (directory, classes, annotations); None: there are none.
        read: Reads the data set in a directory.
    """

    name: str
    images: str | None
    write_image: Callable[[Path, Annotation, Sequence[str], DataSetImage], None] | None
    write_index: Callable[[Path, Sequence[str], Iterable[Annotation]], None] | None
    read: Callable[[Path], DataSet]


def check_classes(classes: Sequence[str]) -> tuple[str, ...]:
    """Check that files can hold a class map, and return it.

    Raises:
        OutputError: It is empty, or a name is empty, has a line end or white space around it, or comes twice.
    """
    if isinstance(classes, str):
        raise OutputError(f"classes are a list of names, such as [{classes!r}], not one text")
    if not classes:
        raise OutputError("a data set has at least one class; none was given")
    for index, name in enumerate(classes):
        if not name or name != name.strip() or not _FORBIDDEN_CATEGORIES.isdisjoint(map(unicodedata.category, name)):
            raise OutputError(f"class {index} has the name {name!r}; a name is one line of text, no space around it")
        if name in classes[:index]:
            raise OutputError(f"class {index} has the name of class {list(classes).index(name)}: {name!r}")
    return tuple(classes)


def write_class_map(directory: Path, classes: Sequence[str]) -> None:
    """Write the names, one per line; the first line is class 0."""
    write_text(directory / CLASS_MAP, "".join(f"{name}\n" for name in classes))


def read_class_map(directory: Path) -> tuple[str, ...]:
    """Read what `write_class_map` wrote.

    Raises:
        DataError: There is no class map.
    """
    return tuple(line for line in read_text(directory / CLASS_MAP).split("\n") if line)


def list_classes(directory: Path, annotations: Iterable[Annotation]) -> tuple[str, ...]:
    """List the classes of a data set whose files hold labels: those of its class map, if it has one, then the others.

    Raises:
        DataError: The class map can't be read.
    """
    named = read_class_map(directory) if (directory / CLASS_MAP).exists() else ()
    labels = {label for annotation in annotations for label, _ in annotation.objects()}
    return (*named, *sorted(labels - set(named)))


def write_text(path: Path, text: str) -> None:
    """Write a text file, complete or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        DataError: It is missing or not UTF-8; the message names it.
    """
    try:
        return untrusted_files.read_text(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read: {error}") from error


def write_json(path: Path, document: Any) -> None:
    """Write a JSON file, complete or not at all."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        json.dump(document, file, ensure_ascii=False, allow_nan=False)
        file.write("\n")


def write_json_list(path: Path, items: Iterable[Any]) -> None:
    """Write a JSON file that holds a list, complete or not at all; its items are read one by one."""
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write("[")
        for index, item in enumerate(items):
            file.write((", " if index else "") + json.dumps(item, ensure_ascii=False, allow_nan=False))
        file.write("]\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: It is missing or not JSON; the message names it.
    """
    try:
        return parse_json(read_text(path))
    except ValueError as error:
        raise DataError(f"{path}: not JSON: {error}") from error


@contextmanager
def reading(where: str, what: str) -> Iterator[None]:
    """Convert the errors of a block that reads a malformed file to a `DataError`.

    Args:
        where: The file, and the record if it has several, for the message.
        what: What the block reads, such as "COCO's instances".

    Raises:
        DataError: The block raised what malformed content raises.
    """
    try:
        yield
    except _MALFORMED as error:
        raise DataError(f"{where}: not {what}: {error!r}") from error


def write_png(path: Path, image: Image.Image) -> None:
    """Write a PNG, complete or not at all."""
    with atomic_file(path) as temporary:
        image.save(temporary, format="PNG")


def read_png(path: Path) -> NDArray[Any]:
    """Read a PNG as it is stored, shape (H, W) or (H, W, C): a palette image yields its indexes, not its colors.

    Raises:
        DataError: It is missing or damaged; the message names it.
    """
    try:
        with open_file(path) as file:
            check_png(file.read())
            with Image.open(file, formats=["PNG"]) as image:
                return np.asarray(image)
    except (*UNREADABLE, struct.error) as error:
        raise DataError(f"{path}: not a PNG that can be read: {error}") from error


def read_size(path: Path) -> tuple[int, int]:
    """Read height and width of an image file, pixels.

    Raises:
        DataError: It is missing or damaged; the message names it.
    """
    try:
        with open_file(path) as file, open_image(file) as image:
            return check_stated_size(image.height, image.width, where=str(path))
    except UNREADABLE as error:
        raise DataError(f"{path}: not an image that can be read: {error}") from error


def find_files(directory: Path, pattern: str) -> list[Path]:
    """List the files of a data set that match, sorted; temporary files of an interrupted run are skipped."""
    return sorted(path for path in directory.glob(pattern) if not path.name.startswith("."))


def paint_indexes(
    size_hw: tuple[int, int], numbered: Iterable[tuple[int, Instance]], *, what: str, largest: int
) -> NDArray[np.int64]:
    """Paint objects into one map, the best score on top; 0 is the background.

    Args:
        size_hw: Height and width of the image, pixels.
        numbered: Objects with the value of their pixels, from 1.
        what: The file that will hold the map, for messages.
        largest: The largest value that the file can hold.

    Returns:
        int, shape (H, W).

    Raises:
        ImageError: There are more objects than values.
    """
    ordered = sorted(numbered, key=lambda item: item[1].score)
    if ordered and max(value for value, _ in ordered) > largest:
        raise ImageError(f"{what} holds the numbers 1 to {largest}, there are {len(ordered)} things; use coco or npz")
    painted = np.zeros(size_hw, dtype=np.int64)
    for value, instance in ordered:
        left, top, right, bottom = instance.box_xyxy
        painted[top:bottom, left:right][instance.box_mask] = value
    return painted

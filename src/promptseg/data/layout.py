"""Find and load the files of a published data set, with errors for missing and malformed ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.data.jsonl import Line
from promptseg.data.sample import Problem
from promptseg.errors import DataError
from promptseg.images import check_stated_size, open_image, upright_size
from promptseg.untrusted_files import open_file, read_json, read_text


@dataclass(frozen=True)
class Tree:
    """A data set on disk.

    Attributes:
        name: Usual name of the data set.
        root: Folder of the data set.
        source: Address where its authors distribute it.
    """

    name: str
    root: Path
    source: str

    def file(self, *places: str, source: str = "") -> Path:
        """Find a file.

        Args:
            places: Possible paths relative to the root, the usual one first.
            source: Address where this file is distributed, if it differs from that of the data set.

        Raises:
            DataError: None of the paths exists.
        """
        return self._find("file", places, Path.is_file, source)

    def folder(self, *places: str, source: str = "") -> Path:
        """Find a folder; arguments as `file`.

        Raises:
            DataError: None of the paths exists.
        """
        return self._find("folder", places, Path.is_dir, source)

    def _find(self, kind: str, places: tuple[str, ...], exists: Callable[[Path], bool], source: str) -> Path:
        for place in places:
            if exists(self.root / place):
                return self.root / place
        others = f" (or at {', '.join(places[1:])} in that folder)" if len(places) > 1 else ""
        raise DataError(
            f"{self.name} in {self.root}: no {kind} {Path(places[0]).name}; expected {self.root / places[0]}{others}. "
            f"Get it from {source or self.source}"
        )


def load_json(path: Path) -> Any:
    """Load a JSON file.

    Raises:
        DataError: The file can't be read or is not JSON; the message names it.
    """
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); it may be incomplete") from error


def load_list(path: Path) -> list[str]:
    """Load a text file of names, one per line, without empty lines.

    Raises:
        DataError: The file can't be read; the message names it.
    """
    try:
        return [line.strip() for line in read_text(path).splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: can't be read ({error})") from error


def lines_of(records: Any, where: str) -> Iterator[Line]:
    """Yield the records of a list, each with its place.

    Raises:
        DataError: The value is not a list of objects.
    """
    if not isinstance(records, list):
        raise DataError(f"{where}: expected a list, got {type(records).__name__}")
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise DataError(f"{where}, record {number}: expected an object, got {type(record).__name__}")
        yield Line(f"{where}, record {number}", record)


def image_problem(path: Path, size_hw: tuple[int, int]) -> Problem | None:
    """Check whether an image has the size of its annotation; only its header is read.

    Args:
        path: The image.
        size_hw: Height and width of the annotation, pixels.

    Returns:
        The problem, or None.
    """
    try:
        with open_file(path) as file, open_image(file) as image:
            image_hw = upright_size(image)
    except FileNotFoundError:
        return Problem(str(path), "no such image")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Problem(str(path), f"can't be read ({error})", is_failure=True)
    if image_hw != size_hw:
        return Problem(str(path), f"the image is {image_hw} (height, width), its annotation {size_hw}", is_failure=True)
    return None


def load_class_map(path: Path) -> NDArray[np.uint8]:
    """Load an image of class numbers, gray or with a palette, as uint8, shape (H, W).

    Raises:
        DataError: The file can't be read, or has colors instead of numbers; the message names it.
    """
    try:
        with open_file(path) as file, open_image(file) as image:
            check_stated_size(image.height, image.width, where=str(path))
            if image.mode not in ("P", "L"):
                raise DataError(f"{path}: an image of class numbers is gray or has a palette, this one is {image.mode}")
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: can't be read ({error})") from error

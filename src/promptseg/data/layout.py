"""The files of a published data set: where they lie, and what to say when one is missing or malformed."""

import json
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
from promptseg.images import EXIF_ORIENTATION


@dataclass(frozen=True)
class Tree:
    """A data set on disk.

    Attributes:
        name: As people call it.
        root: The folder that the caller has.
        source: Where its authors hand it out.
    """

    name: str
    root: Path
    source: str

    def file(self, *places: str, source: str = "") -> Path:
        """Find a file.

        Args:
            places: Where it may lie below the root, the usual place first.
            source: Where it can be had, if not where the rest is.

        Raises:
            DataError: It is at none of these places.
        """
        return self._find("file", places, Path.is_file, source)

    def folder(self, *places: str, source: str = "") -> Path:
        """Find a folder; as `file`.

        Raises:
            DataError: It is at none of these places.
        """
        return self._find("folder", places, Path.is_dir, source)

    def _find(self, kind: str, places: tuple[str, ...], exists: Callable[[Path], bool], source: str) -> Path:
        for place in places:
            if exists(self.root / place):
                return self.root / place
        others = f" (or at {', '.join(places[1:])} in that root)" if len(places) > 1 else ""
        raise DataError(
            f"{self.name} in {self.root}: no {kind} {Path(places[0]).name}; expected {self.root / places[0]}{others}. "
            f"Get it from {source or self.source}"
        )


def load_json(path: Path) -> Any:
    """Load a JSON file.

    Raises:
        DataError: It can't be read or is not JSON; names the file.
    """
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not valid JSON ({error}); it may have been cut short on its way") from error


def load_list(path: Path) -> list[str]:
    """Load a text file of names, one a line; empty lines don't count.

    Raises:
        DataError: It can't be read; names the file.
    """
    try:
        return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read ({error})") from error


def lines_of(records: Any, where: str) -> Iterator[Line]:
    """Yield a list's records, each with its place.

    Raises:
        DataError: It is no list of objects.
    """
    if not isinstance(records, list):
        raise DataError(f"{where}: expected a list, got {type(records).__name__}")
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise DataError(f"{where}, record {number}: expected an object, got {type(record).__name__}")
        yield Line(f"{where}, record {number}", record)


def image_problem(path: Path, size_hw: tuple[int, int]) -> Problem | None:
    """Say what keeps an image from being used with an annotation of that size; only its header is read."""
    try:
        with Image.open(path) as image:
            height, width = image.height, image.width
            lies_on_its_side = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
    except FileNotFoundError:
        return Problem(str(path), "no such image")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Problem(str(path), f"can't be read ({error})")
    image_hw = (width, height) if lies_on_its_side else (height, width)
    if image_hw != size_hw:
        return Problem(str(path), f"the image is {image_hw} (height, width), its annotation {size_hw}")
    return None


def load_class_map(path: Path) -> NDArray[np.uint8]:
    """Load an image of class numbers, gray or with a palette: uint8 (H, W).

    Raises:
        DataError: It can't be read, or has colors instead of numbers; names the file.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L"):
                raise DataError(f"{path}: an image of class numbers is gray or has a palette, this one is {image.mode}")
            return np.asarray(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path}: can't be read ({error})") from error

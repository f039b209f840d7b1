"""Four photos to try things on; `LICENCES.md` beside them says whose they are (all CC0 or public domain)."""

from pathlib import Path
from typing import Literal

PhotoName = Literal["astronaut", "chelsea", "coffee", "rocket"]


def find_photo(name: PhotoName) -> Path:
    """Say where a bundled photo lies.

    Raises:
        FileNotFoundError: There is none of that name, or the installation is damaged.
    """
    return (Path(__file__).parent / f"{name}.jpg").resolve(strict=True)

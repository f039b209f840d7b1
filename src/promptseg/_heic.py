"""HEIC images, as iPhones take them: read by the optional package pi-heif, `pip install 'promptseg[heic]'`."""

from functools import cache
from importlib.util import find_spec
from typing import BinaryIO

from PIL import Image

HEIC_SUFFIXES = (".heic", ".heif")

_BRANDS = (b"ftyphei", b"ftyphev", b"ftypmif", b"ftypmsf")  # bytes 4 to 10 of a file


def is_heic(prefix: bytes) -> bool:
    """Tell by the first 11 bytes of a file, or more, whether it is a HEIC image."""
    return prefix[4:11] in _BRANDS


@cache
def can_read_heic() -> bool:
    """Whether the optional package is installed."""
    return find_spec("pi_heif") is not None


def open_heic(file: BinaryIO) -> Image.Image:
    """Open a HEIC image, upright; its pixels are decoded when they are read.

    Raises:
        SyntaxError: It is damaged.
    """
    # here and not above: few read HEIC, and the package is optional
    from pi_heif import HeifImageFile

    image: Image.Image = HeifImageFile(file, "")
    return image

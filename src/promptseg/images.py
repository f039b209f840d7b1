"""Any image a person has -> uint8 RGB, shape (H, W, 3), upright; all the quirks of image files end here.

EXIF orientation is applied; transparency is laid over white; gray, 16-bit, palette, CMYK and 1-bit images become RGB;
an animation gives its first frame. Color profiles are not applied.
"""

import glob
import io
import struct
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from promptseg.errors import DataError, ImageError

ImageSource: TypeAlias = str | Path | bytes | bytearray | memoryview | Image.Image | NDArray[np.uint8]
_Convert: TypeAlias = Callable[[Image.Image, str], Image.Image]

# Photo formats only: Pillow also opens EPS, which runs Ghostscript on the file, and formats without a signature.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000")
IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

# What Pillow's decoders were seen to raise on 9,000 damaged files (RuntimeError: AVIF).
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    KeyError,
    RuntimeError,
    struct.error,
    zlib.error,
)

EXIF_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class ImageLimits:
    """How large an image may be; what is larger is refused before it is decoded.

    Attributes:
        max_pixels: Height times width. The default, 89 million, is where Pillow starts to suspect a decompression bomb.
        max_bytes: Size of the encoded image.
    """

    max_pixels: int = 89_478_485
    max_bytes: int = 300_000_000


DEFAULT_LIMITS = ImageLimits()
# The largest image that anything here takes, looked at in tiles: all that Pillow opens.
LARGEST_LIMITS = ImageLimits(max_pixels=178_956_970)


def read_image(source: ImageSource, *, limits: ImageLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Read an image of any usual kind.

    Args:
        source: A file's path, its bytes, a Pillow image, or a uint8 RGB array of shape (H, W, 3).
        limits: What is refused as too large.

    Returns:
        A new array, uint8, RGB, shape (H, W, 3), upright; H and W are at least 1.

    Raises:
        ImageError: The image is missing, damaged, of an unknown kind or outside the limits; the message names it.
    """
    if isinstance(source, np.ndarray):
        return _copy_array(source, name_image(source), limits)
    return _read(source, limits, _to_rgb)


def read_mask(source: ImageSource | NDArray[np.bool_], *, limits: ImageLimits = DEFAULT_LIMITS) -> NDArray[np.bool_]:
    """Read a mask that somebody painted or a tool wrote.

    Args:
        source: A file's path, its bytes, a Pillow image, or a bool or uint8 array of shape (H, W). White is inside,
            black outside; 1 is inside too where nothing is brighter, and so is every palette color but the first. Of a
            image that is transparent somewhere, the opaque part is inside.
        limits: What is refused as too large.

    Returns:
        A new array, bool, shape (H, W), upright; H and W are at least 1.

    Raises:
        ImageError: The mask is missing, damaged, of an unknown kind or outside the limits; the message names it.
    """
    if isinstance(source, np.ndarray):
        if source.ndim != 2 or source.size == 0 or source.dtype not in (np.bool_, np.uint8):
            raise ImageError(f"{name_image(source)}: an array that is a mask is bool or uint8, of shape (H, W)")
        source = Image.fromarray(source)
    return _read(source, limits, _to_mask)


def open_image(file: BinaryIO) -> Image.Image:
    """Open an image as `PIL.Image.open` does, but without its warning and its limit: who opens one has limits.

    Args:
        file: Is read on when the pixels are, and stays open.

    Raises:
        UnidentifiedImageError: It is none that `read_image` takes; other errors of Pillow where it is damaged.
    """
    Image.init()
    prefix = file.read(16)
    for kind in _FORMATS:
        if kind not in Image.OPEN:  # Pillow was built without it
            continue
        build, accepts = Image.OPEN[kind]
        accepted = accepts is None or accepts(prefix)
        if not accepted or isinstance(accepted, str):  # text says what Pillow was built without
            continue
        file.seek(0)
        try:
            return build(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise UnidentifiedImageError("none of the kinds that can be read")


def check_stated_size(height: object, width: object, *, where: str) -> tuple[int, int]:
    """Check an image's size that a file states, before anything of that size is made.

    Args:
        height: What the file says.
        width: The same.
        where: File and record, for the message.

    Returns:
        Height and width, pixels.

    Raises:
        DataError: They are no two whole numbers from 1 on, or an image of that size is beyond `LARGEST_LIMITS`.
    """
    if not isinstance(height, int) or not isinstance(width, int) or height < 1 or width < 1:
        raise DataError(f"{where}: height and width are whole numbers from 1 on, not {height!r:.40} and {width!r:.40}")
    if height * width > LARGEST_LIMITS.max_pixels:
        raise DataError(
            f"{where}: says that its image has {height}x{width} pixels (H x W); the limit is "
            f"{LARGEST_LIMITS.max_pixels:,}"
        )
    return height, width


def name_image(source: object) -> str:
    """Say which image is meant, for messages: its path, or what it is when it has none."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "") or f"<{source.mode} image {source.height}x{source.width}>")
    if isinstance(source, np.ndarray):
        return f"<array {source.dtype} {source.shape}>"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<{len(source):,} bytes>"
    return f"<{type(source).__name__}>"


def list_images(paths: Iterable[str | Path]) -> list[Path]:
    """List the images that paths, folders and glob patterns stand for.

    Args:
        paths: A file is taken as it is, even when it is missing: reading it gives the error. A folder stands for the
            images right in it, a pattern (`photos/**/*.jpg`) for the images it matches, both sorted by name. Hidden
            files of a folder, such as those that macOS leaves beside each image ("._cat.jpg"), are passed over.

    Returns:
        Each image once, in the order of `paths`.

    Raises:
        ImageError: A folder or pattern holds no image.
    """
    found: dict[Path, None] = {}
    for path in map(Path, paths):
        if path.is_dir():
            matches: Iterable[Path] = (match for match in path.iterdir() if not match.name.startswith("."))
        elif glob.has_magic(str(path)) and not path.exists():
            matches = map(Path, glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob refuses absolute ones)
        else:
            found[path] = None
            continue
        images = sorted(match for match in matches if match.suffix.lower() in IMAGE_SUFFIXES and match.is_file())
        if not images:
            kinds = " ".join(sorted(IMAGE_SUFFIXES))
            raise ImageError(f"{path}: no image {'in this folder' if path.is_dir() else 'matches'} ({kinds})")
        found.update(dict.fromkeys(images))
    return list(found)


def _read(source: object, limits: ImageLimits, convert: _Convert) -> NDArray[Any]:
    name = name_image(source)
    if isinstance(source, Image.Image):
        return _decode(source, name, limits, convert)
    if isinstance(source, str | Path):
        source = _load_bytes(Path(source), limits)
    elif not isinstance(source, bytes | bytearray | memoryview):
        raise ImageError(f"an image is a path, bytes, a Pillow image or a uint8 array, not {type(source).__name__}")
    if len(source) > limits.max_bytes:
        raise ImageError(f"{name}: {len(source):,} bytes; the limit is {limits.max_bytes:,}")
    try:
        image = open_image(io.BytesIO(source))
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image, or of a kind that can't be read; save it as JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: too many pixels, it may be a decompression bomb: {error}") from error
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name}: damaged or cut short: {error}") from error
    with image:
        return _decode(image, name, limits, convert)


def _load_bytes(path: Path, limits: ImageLimits) -> bytes:
    try:
        num_bytes = path.stat().st_size
        if num_bytes > limits.max_bytes:
            raise ImageError(f"{path}: {num_bytes:,} bytes; the limit is {limits.max_bytes:,}")
        return path.read_bytes()
    except FileNotFoundError as error:
        hint = "; addresses are not fetched: download it first" if str(path).startswith(("http:", "https:")) else ""
        raise ImageError(f"{path}: no such file{hint}") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path}: a folder, not an image") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ImageError(f"{path}: can't be read: {error}") from error


def _copy_array(array: NDArray[np.uint8], name: str, limits: ImageLimits) -> NDArray[np.uint8]:
    if array.dtype != np.uint8:
        hint = "; multiply values in [0, 1] by 255 first" if array.dtype.kind == "f" else ""
        raise ImageError(f"{name}: an array is uint8 RGB{hint}")
    if array.ndim != 3 or array.shape[2] != 3:
        hint = "; the channels come last: use .transpose(1, 2, 0)" if array.ndim == 3 and array.shape[0] == 3 else ""
        raise ImageError(f"{name}: an array has the shape (H, W, 3){hint}")
    _check_size(array.shape[0], array.shape[1], name, limits)
    return array.copy(order="C")


def _check_size(height: int, width: int, name: str, limits: ImageLimits) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"{name}: {height}x{width} pixels, there is nothing to see")
    if height * width > limits.max_pixels:
        raise ImageError(f"{name}: {height}x{width} = {height * width:,} pixels; the limit is {limits.max_pixels:,}")


def _decode(image: Image.Image, name: str, limits: ImageLimits, convert: _Convert) -> NDArray[Any]:
    _check_size(image.height, image.width, name, limits)
    try:
        orientation = image.getexif().get(EXIF_ORIENTATION)
        converted = convert(image, name)
        if orientation in _UPRIGHT:
            converted = converted.transpose(_UPRIGHT[orientation])
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name}: damaged or cut short: {error}") from error
    return np.array(converted)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    # Pillow reads a PGM of more than 8 bits as mode I, scaled to 16 bits.
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        gray = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((gray + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{name}: {'32-bit' if image.mode == 'I' else 'floating-point'} values have no known range; "
            "save it with 8 or 16 bits a channel"
        )
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode == "RGB":  # converting it would copy it, 0.4 GB of a large image
        image.load()
        return image
    return image.convert("RGB")


def _to_mask(image: Image.Image, _name: str) -> Image.Image:
    if image.has_transparency_data:
        opacity = np.asarray(image.convert("RGBA").getchannel("A"))
        if opacity.min() < 255:
            return Image.fromarray(opacity > 127)
    if image.mode in ("1", "P"):
        return Image.fromarray(np.asarray(image) > 0)
    gray = np.asarray(image.convert("L"))
    # from the middle on, because what JPEG stores is not exact
    return Image.fromarray(gray > (127 if gray.max() > 1 else 0))

"""Read images of any usual kind as uint8 RGB arrays, shape (H, W, 3), upright.

EXIF orientation is applied; transparent images are composited over white; gray, 16-bit, palette, CMYK and 1-bit images
become RGB; an animation yields its first frame. Values of 10, 12 or 14 bits, stored in 16, are scaled by the smallest
such range that holds them. Color profiles are not applied. An array or a Pillow image is read as
a file with the same content is.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import IMAGELENGTH, IMAGEWIDTH, TiffImageFile

from promptseg._heic import can_read_heic, is_heic, open_heic
from promptseg._value_checks import checked_mask_value
from promptseg.errors import DataError, ImageError, ImageTooLargeError, ImageWarning
from promptseg.image_files import expand_home
from promptseg.stored_values import (
    MaskValue,
    find_inside,
    list_values,
    read_deep_png,
    read_values,
    scale_to_8_bits,
)
from promptseg.untrusted_files import check_png, open_file

ImageSource: TypeAlias = (
    str | Path | bytes | bytearray | memoryview | BinaryIO | Image.Image | NDArray[np.uint8] | NDArray[np.uint16]
)
_Convert: TypeAlias = Callable[[Image.Image, str], Image.Image]

# Raster formats only: Pillow also opens EPS, which runs Ghostscript on the file, and formats without a signature.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000")
# A TIFF's tag that says what a page is, and its flags for a smaller copy (1) and a mask (4); pages that are looked at.
_SUBFILE_TYPE, _COPY_OR_MASK, _NUM_FRAMES = 254, 5, 20

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the first bytes, also of BigTIFF

# What Pillow's decoders raised on 9,000 damaged files (RuntimeError: AVIF).
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

_ADDRESS = re.compile(r"[a-z][a-z0-9+]+:/|data:", re.IGNORECASE)  # a scheme and a slash: Path drops the second one

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
    """How large an image may be; a larger one is refused before it is decoded.

    Attributes:
        max_pixels: Height times width. At the default, 89 million, Pillow starts to suspect a decompression bomb.
        max_bytes: Size of the encoded image.
    """

    max_pixels: int = 89_478_485
    max_bytes: int = 300_000_000


DEFAULT_LIMITS = ImageLimits()
# The largest image that any function here takes, for tiled prediction: the limit of Pillow.
LARGEST_LIMITS = ImageLimits(max_pixels=178_956_970)


def read_image(source: ImageSource, *, limits: ImageLimits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """Read an image of any usual kind.

    Args:
        source: A path ("~" is the home folder), the bytes of a file, a file opened for reading bytes, a Pillow image,
            or an array: RGB of shape (H, W, 3), RGBA of shape (H, W, 4) or gray of shape (H, W), uint8, or uint16 of
            8, 10, 12, 14 or 16 bits, whichever holds its largest value.
        limits: Larger images are refused.

    Returns:
        A new array, uint8, RGB, shape (H, W, 3), upright; H and W are at least 1.

    Raises:
        ImageError: The image is missing, damaged, of an unknown kind or exceeds the limits; the message names it.
    """
    if isinstance(source, np.ndarray):
        return _read_array(source, name_image(source), limits)
    return _read(source, limits, _to_rgb)


def read_encoded_image(
    source: str | Path | bytes | bytearray | memoryview, *, limits: ImageLimits = DEFAULT_LIMITS
) -> tuple[NDArray[np.uint8], bytes]:
    """Read an encoded image as `read_image` does, and give its bytes too: a file is read once.

    Raises:
        ImageError: As `read_image`.
    """
    encoded = _load_bytes(expand_home(source), limits) if isinstance(source, str | Path) else bytes(source)
    return _decode_file(encoded, name_image(source), limits, _to_rgb), encoded


def read_mask(
    source: ImageSource | NDArray[np.bool_],
    *,
    mask_value: MaskValue | None = None,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> NDArray[np.bool_]:
    """Read a mask that a person painted or a tool wrote.

    Args:
        source: A path, the bytes of a file, a file opened for reading bytes, a Pillow image, or a bool or uint8 array
            of shape (H, W). Black (0) is outside; inside is the one other value, color or palette index that the mask
            has, or the bright part of a mask with soft edges. In an image with transparent pixels, the opaque part is
            inside.
        mask_value: What is inside, for a mask that holds several classes: a gray value or palette index, a color
            (R, G, B), or "nonzero".
        limits: Larger images are refused.

    Returns:
        A new array, bool, shape (H, W), upright; H and W are at least 1.

    Raises:
        ImageError: The mask is missing, damaged, of an unknown kind or exceeds the limits, or its values allow several
            readings; the message names it and lists the values.
        PromptError: `mask_value` is none of these.
    """
    return _read(_wrap_mask(source), limits, partial(_to_mask, mask_value=checked_mask_value(mask_value)))


def list_mask_values(source: ImageSource | NDArray[np.bool_], *, mask_value: MaskValue | None = None) -> str:
    """List the values that a mask has, the first dozen of them: gray values, palette indexes or colors.

    Args:
        source: As `read_mask` takes it.
        mask_value: As `read_mask` takes it; of a palette image, a number lists indexes and a color lists colors.

    Raises:
        ImageError: The mask can't be read.
        PromptError: `mask_value` is no mask value.

    Example:
        >>> list_mask_values(np.array([[0, 2], [2, 7]], dtype=np.uint8))
        '0, 2, 7'
    """
    checked = checked_mask_value(mask_value)
    return list_values(
        _read(_wrap_mask(source), LARGEST_LIMITS, lambda image, name: Image.fromarray(read_values(image, checked)))
    )


def open_image(file: BinaryIO) -> Image.Image:
    """Open an image as `PIL.Image.open` does, but without its warning and its limit: the caller checks the size.

    Args:
        file: Must stay open until the pixels are read.

    Raises:
        UnidentifiedImageError: It is no image of a kind that `read_image` takes. A damaged one raises other errors of
            Pillow.
    """
    Image.init()
    prefix = file.read(16)
    if is_heic(prefix) and can_read_heic():
        file.seek(0)
        return open_heic(file)
    for kind in _FORMATS:
        if kind not in Image.OPEN:  # Pillow was built without it
            continue
        build, accepts = Image.OPEN[kind]
        accepted = accepts is None or accepts(prefix)
        if not accepted or isinstance(accepted, str):  # a text names what Pillow was built without
            continue
        file.seek(0)
        try:
            return build(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
    raise UnidentifiedImageError("none of the kinds that can be read")


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Give height and width that an opened image has once it is upright; its pixels are not read."""
    width, height = image.size
    if isinstance(image, TiffImageFile):  # whose size newer versions of Pillow give as that of the upright image
        width, height = image.tag_v2[IMAGEWIDTH], image.tag_v2[IMAGELENGTH]
    is_rotated = image.getexif().get(EXIF_ORIENTATION, 1) >= 5
    return (width, height) if is_rotated else (height, width)


def check_stated_size(height: object, width: object, *, where: str) -> tuple[int, int]:
    """Check an image size that a file states, before an array of that size is created.

    Args:
        height: As read from the file.
        width: As read from the file.
        where: File and record, for the message.

    Returns:
        Height and width, pixels.

    Raises:
        DataError: They are not two whole numbers from 1 on, or an image of that size exceeds `LARGEST_LIMITS`.
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
    """Name an image for messages: its path, or its type and size if it has none."""
    if (path := find_path(source)) is not None:
        return path
    if isinstance(source, Image.Image):
        return f"<{source.mode} image {source.height}x{source.width}>"
    if isinstance(source, np.ndarray):
        return f"<array {source.dtype} {source.shape}>"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<{len(source):,} bytes>"
    return f"<{type(source).__name__}>"


def find_path(source: object) -> str | None:
    """Find the path that an image was given by or opened from; None: it has none, or it is not known."""
    if isinstance(source, str | Path):
        return str(source)
    if isinstance(source, Image.Image):
        return str(getattr(source, "filename", "")) or None
    name = getattr(source, "name", None) if hasattr(source, "read") else None
    return name if isinstance(name, str) else None


def _wrap_mask(source: object) -> object:
    """Make an image of an array that is a mask; anything else stays as it is."""
    if not isinstance(source, np.ndarray):
        return source
    if source.ndim != 2 or source.size == 0 or source.dtype not in (np.bool_, np.uint8):
        raise ImageError(f"{name_image(source)}: a mask is bool or uint8, of shape (H, W), as an array")
    return Image.fromarray(source)


def _read(source: object, limits: ImageLimits, convert: _Convert) -> NDArray[Any]:
    name = name_image(source)
    if isinstance(source, Image.Image):
        return _decode(source, name, limits, convert)
    if isinstance(source, str | Path):
        encoded: bytes | bytearray | memoryview = _load_bytes(expand_home(source), limits)
    elif isinstance(source, bytes | bytearray | memoryview):
        encoded = source
    else:
        encoded = _read_file(source, name, limits)
    return _decode_file(encoded, name, limits, convert)


def _decode_file(
    encoded: bytes | bytearray | memoryview, name: str, limits: ImageLimits, convert: _Convert
) -> NDArray[Any]:
    if len(encoded) > limits.max_bytes:
        raise ImageTooLargeError(f"{name}: {len(encoded):,} bytes; the limit is {limits.max_bytes:,}")
    try:
        image = open_image(io.BytesIO(encoded))
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: {_explain_unknown(bytes(encoded[:16]))}") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(f"{name}: too many pixels, it may be a decompression bomb: {error}") from error
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name}: damaged or cut short: {error}") from error
    with image:
        if image.format == "PNG":
            _check_png(encoded, name)
        if image.format == "TIFF" and _has_more_pages(image):
            warnings.warn(
                f"{name}: has several pages, and only the first is read; to read another: page = Image.open(path); "
                "page.seek(1); promptseg.read_image(page)",
                ImageWarning,
                stacklevel=5,
            )
        return _decode(image, name, limits, partial(_to_deep_rgb, encoded=encoded) if convert is _to_rgb else convert)


def _has_more_pages(image: Image.Image) -> bool:
    """Tell whether a TIFF has a second page that is neither a smaller copy nor a mask of the first; go back to that."""
    try:
        for frame in range(1, _NUM_FRAMES):
            image.seek(frame)
            kind = image.tag_v2.get(_SUBFILE_TYPE, 0)  # type: ignore[attr-defined]  # a TIFF has tags
            if not (isinstance(kind, int) and kind & _COPY_OR_MASK):
                return True
    except _DECODE_ERRORS:  # the end, or damage that does not concern the first page
        pass
    finally:
        image.seek(0)
    return False


def _explain_unknown(prefix: bytes) -> str:
    """Say what a file may be that none of the readers takes, by its first bytes, and what to do."""
    if is_heic(prefix):
        return "a HEIC image, which needs an optional package: pip install 'promptseg[heic]'; or save it as JPEG or PNG"
    if not prefix:
        return "an empty file; it may be a copy or download that failed"
    if prefix[:4] in _TIFF:
        return (
            "a TIFF of a kind that can't be read: read are 1 band of 8 or 16 bits, and red, green, blue (and "
            "transparency) of 8 or 16 bits, marked as RGB; choose three bands, for example by "
            "`gdal_translate -b 3 -b 2 -b 1 -ot Byte -scale -co PHOTOMETRIC=RGB IN OUT`"
        )
    return "not an image, or of a kind that can't be read; save it as JPEG or PNG"


def _check_png(encoded: bytes | bytearray | memoryview, name: str) -> None:
    try:
        check_png(encoded)
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name}: damaged or cut short: {error}") from error


def _read_file(source: object, name: str, limits: ImageLimits) -> bytes:
    """Read an open file from its current position on, one byte beyond the limit at most."""
    if type(source).__module__.split(".")[0] == "torch":
        raise ImageError("an image is no torch tensor: give an array, such as tensor.permute(1, 2, 0).cpu().numpy()")
    read = getattr(source, "read", None)
    if not callable(read):
        raise ImageError(
            f"an image is a path, bytes, an open file, a Pillow image or an array, not {type(source).__name__}"
        )
    try:
        encoded = read(limits.max_bytes + 1)
    except _DECODE_ERRORS as error:
        raise ImageError(f"{name}: can't be read: {error}") from error
    if not isinstance(encoded, bytes | bytearray):
        raise ImageError(f'{name}: not a file of bytes; open it with mode "rb"')
    if not encoded:
        if getattr(source, "name", None) == "<stdin>":
            raise ImageError("standard input is empty: pipe an image into it, or name a file")
        raise ImageError(f"{name}: nothing to read here; if it was read before, go back with .seek(0)")
    return bytes(encoded)


def _load_bytes(path: Path, limits: ImageLimits) -> bytes:
    try:
        num_bytes = path.stat().st_size
        if num_bytes > limits.max_bytes:
            raise ImageTooLargeError(f"{path}: {num_bytes:,} bytes; the limit is {limits.max_bytes:,}")
        with open_file(path) as file:
            return file.read(limits.max_bytes + 1)
    except FileNotFoundError as error:
        hint = "; addresses are not fetched: give the path of a local file" if _ADDRESS.match(str(path)) else ""
        raise ImageError(f"{path}: no such file{hint}") from error
    except IsADirectoryError as error:
        raise ImageError(f"{path}: a folder, not an image") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise ImageError(f"{path}: can't be read: {error}") from error


def _read_array(array: NDArray[Any], name: str, limits: ImageLimits) -> NDArray[np.uint8]:
    if array.dtype not in (np.uint8, np.uint16):
        hint = (
            "; multiply values in [0, 1] by 255 and convert with .astype(np.uint8)" if array.dtype.kind == "f" else ""
        )
        raise ImageError(f"{name}: an image as an array is uint8 or uint16{hint}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim != 2 and (array.ndim != 3 or array.shape[2] not in (3, 4)):
        raise ImageError(
            f"{name}: an image as an array has the shape (H, W, 3), (H, W, 4) or (H, W){_hint_at_bands(array)}"
        )
    _check_size(array.shape[0], array.shape[1], name, limits)
    if array.dtype == np.uint16:
        array = scale_to_8_bits(array)
    if array.ndim == 3 and array.shape[2] == 3:
        return array.copy(order="C")
    return np.array(_to_rgb(Image.fromarray(array), name))


def _hint_at_bands(array: NDArray[Any]) -> str:
    """Hint at the cause of an array's wrong shape, as the end of a message."""
    if array.ndim == 3 and array.shape[0] == 3:
        return "; the channels come last: use .transpose(1, 2, 0)"
    if array.ndim == 3 and array.shape[2] > 4:
        return f"; choose red, green and blue of its {array.shape[2]} bands, such as array[:, :, [2, 1, 0]]"
    if array.ndim == 4:
        return "; give the images of a batch one by one"
    return ""


def _check_size(height: int, width: int, name: str, limits: ImageLimits) -> None:
    if height < 1 or width < 1:
        raise ImageError(f"{name}: {height}x{width} pixels, there is nothing to see")
    if height * width > limits.max_pixels:
        raise ImageTooLargeError(
            f"{name}: {height}x{width} = {height * width:,} pixels; the limit is {limits.max_pixels:,}"
        )


def _decode(image: Image.Image, name: str, limits: ImageLimits, convert: _Convert) -> NDArray[Any]:
    _check_size(image.height, image.width, name, limits)
    try:
        image.load()  # Pillow turns a TIFF upright then, and takes the tag away
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
        top = 65535 if image.mode == "I" else None
        return Image.fromarray(scale_to_8_bits(np.asarray(image).astype(np.uint16), top=top)).convert("RGB")
    if image.mode in ("I", "F"):
        raise ImageError(
            f"{name}: {'32-bit' if image.mode == 'I' else 'floating-point'} values have no known range; "
            "save it with 8 or 16 bits a channel"
        )
    if image.mode == "La":  # Pillow converts it to this alone
        image = image.convert("LA")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    if image.mode == "RGB":  # a conversion would copy it: 0.4 GB for a large image
        image.load()
        return image
    return image.convert("RGB")


def _to_deep_rgb(image: Image.Image, name: str, *, encoded: bytes | bytearray | memoryview) -> Image.Image:
    return _to_rgb(read_deep_png(image, encoded) or image, name)


def _to_mask(image: Image.Image, name: str, *, mask_value: MaskValue | None) -> Image.Image:
    if mask_value is None and image.has_transparency_data:
        opacity = np.asarray(image.convert("RGBA").getchannel("A"))
        if opacity.min() < 255:
            return Image.fromarray(opacity > 127)
    try:
        return Image.fromarray(find_inside(read_values(image, mask_value), mask_value))
    except ValueError as error:
        raise ImageError(f"{name}: {error}") from error

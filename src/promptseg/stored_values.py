"""What the values in files mean: which pixels of a mask are inside, and which value is white.

People store masks as 0 and 1, 0 and 255, class numbers, palette indexes, colors, 16 bits, and with soft edges. Every
reader of masks asks `find_inside`, so one file means the same everywhere. Values that allow several readings are
refused and listed: a mask is never read as empty because its values are small.
"""

import io
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MaskValue: TypeAlias = int | tuple[int, int, int] | Literal["nonzero"]
"""What is inside: a value (gray value or palette index), an RGB color, or everything that is not 0."""

# A mask of more colors, most of whose pixels are neither black nor of its main color, is no mask.
_MAX_COLORS = 256
_NUM_LISTED = 12
_WAY_OUT = "say with mask_value (--mask-value) which one is inside: a value, a color, or 'nonzero'"


def find_inside(values: NDArray[Any], mask_value: MaskValue | None = None) -> NDArray[np.bool_]:
    """Find the pixels inside a mask.

    Args:
        values: Gray values or palette indexes, bool, integer or float, shape (H, W), or colors, uint8, (H, W, 3).
        mask_value: What is inside. None: the one value besides 0 (black), whatever it is; or, of a mask with soft
            edges, what is brighter than half.

    Returns:
        bool, shape (H, W).

    Raises:
        ValueError: The values allow several readings, or `mask_value` is none for these values.
    """
    if values.ndim == 3 and (values == values[:, :, :1]).all():
        values = values[:, :, 0]
    if isinstance(mask_value, tuple):
        return np.asarray((_as_colors(values) == np.array(mask_value)).all(axis=2))
    codes = _pack(values)
    if mask_value == "nonzero":
        return codes != 0
    if mask_value is not None:
        if values.ndim == 3:
            raise ValueError(f"a mask of colors, {list_values(values)}; mask_value is a color such as (255, 0, 0)")
        return codes == mask_value
    present = np.unique(codes[codes != 0])
    if len(present) <= 1:
        return codes != 0
    return _find_bright(values, codes, present)


def read_values(image: Image.Image, mask_value: MaskValue | None) -> NDArray[Any]:
    """Read the values of a mask: gray values or palette indexes, shape (H, W), or colors, shape (H, W, 3)."""
    if image.mode in ("1", "L", "I", "F") or image.mode.startswith("I;16"):
        return np.asarray(image)
    if image.mode == "LA":
        return np.asarray(image.getchannel("L"))
    colors = np.asarray(image.convert("RGB"))
    if image.mode != "P" or isinstance(mask_value, tuple):
        return colors
    indexes = np.asarray(image)
    if mask_value is not None:
        return indexes
    used = np.unique(indexes)
    seen = np.unique(colors.reshape(-1, 3), axis=0)
    # Programs that reduce colors sort a palette as they like, so black may have any index.
    is_background = not colors[indexes == 0].any() and bool((indexes == 0).any())
    return colors if not is_background and len(seen) == len(used) and not seen[0].any() else indexes


def scale_to_8_bits(values: NDArray[np.uint16], *, top: int | None = None) -> NDArray[np.uint8]:
    """Scale values of up to 16 bits to the range 0 to 255.

    Args:
        values: uint16, any shape.
        top: Value of white. None: cameras and scanners store 10, 12 or 14 bits in 16, so it is the largest value of the
            smallest of these ranges that holds all values, with 8 and 16 bits.
    """
    white = int(full_range(max(255.0, float(values.max(initial=0))))) if top is None else top
    return ((values.astype(np.uint32) * 255 + white // 2) // white).astype(np.uint8)


def read_deep_png(image: Image.Image, encoded: bytes | bytearray | memoryview) -> Image.Image | None:
    """Scale a color PNG of 10 to 14 bits, stored in 16, to 8 bits; Pillow keeps the upper 8 of the 16 bits only.

    Args:
        image: The file, opened.
        encoded: The content of the file.

    Returns:
        An image of the mode RGB or RGBA; None: it is no PNG of 16 bits in color, or it uses more than 14 of them.
    """
    # Bits a channel and the type of color, in the header.
    if image.format != "PNG" or bytes(encoded[24:26]) not in (b"\x10\x02", b"\x10\x06"):
        return None
    upper = np.asarray(image)
    if upper[:, :, :3].max() >= 2 ** (14 - 8):
        return None
    with Image.open(io.BytesIO(encoded), formats=["PNG"]) as again:
        # Read as if the lower byte came first, so that it is the one that is kept.
        again.tile = [again.tile[0]._replace(args=f"{image.mode};16L")]
        lower = np.asarray(again)
    colors = scale_to_8_bits(upper[:, :, :3].astype(np.uint16) << 8 | lower[:, :, :3])
    return Image.fromarray(np.concatenate([colors, upper[:, :, 3:]], axis=2))


def full_range(largest: float) -> float:
    """Return the largest value of the smallest usual range (1, or 8, 10, 12, 14, 16 or 32 bits) that holds a value."""
    if largest <= 1:
        return 1.0
    return next((2.0**bits - 1 for bits in (8, 10, 12, 14, 16) if largest <= 2**bits - 1), 2.0**32 - 1)


def list_values(values: NDArray[Any]) -> str:
    """List the values in a mask, shape (H, W) or (H, W, 3), the first dozen of them."""
    rows = np.unique(values.reshape(-1, 3), axis=0) if values.ndim == 3 else np.unique(values)
    listed = [str(tuple(row.tolist())) if values.ndim == 3 else f"{row.item():g}" for row in rows[:_NUM_LISTED]]
    return ", ".join(listed) + (f" and {len(rows) - _NUM_LISTED} more" if len(rows) > _NUM_LISTED else "")


def parse_mask_value(written: str) -> MaskValue:
    """Read a mask value that a person wrote: "2", "255,0,0" or "nonzero".

    Raises:
        ValueError: It is none of these.
    """
    if written.strip() == "nonzero":
        return "nonzero"
    parts = written.split(",")
    if len(parts) in (1, 3) and all(part.strip().isdecimal() for part in parts):
        numbers = tuple(int(part) for part in parts)
        return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2])
    raise ValueError(f"{written!r} is no mask value: give a number, a color such as 255,0,0 or 'nonzero'")


def _find_bright(values: NDArray[Any], codes: NDArray[Any], present: NDArray[Any]) -> NDArray[np.bool_]:
    """Find what is brighter than half, in a mask whose other values are those of soft edges."""
    if values.ndim == 3:
        # The object's color is the most frequent one; its edges are darker.
        frequent, counts = np.unique(codes[codes != 0], return_counts=True)
        main = frequent[np.argmax(counts)]
        brightness = values.max(axis=2)
        top = float(brightness[codes == main].max())
    else:
        main = present[-1]
        brightness = values
        top = full_range(float(main))
    is_between = (codes != 0) & (codes != main)
    # Soft edges and the noise of JPEG change from pixel to pixel; areas of one value are classes. Where nothing is 0,
    # the darkest value is the background.
    is_background = (codes == codes.flat[np.argmin(brightness)]) & ~(codes == 0).any()
    is_between &= ~is_background
    if values.ndim == 3 and len(present) > _MAX_COLORS and is_between.mean() > 0.8:
        raise ValueError(f"{len(present):,} colors, as a photograph has; give the file of its mask")
    if float(brightness.max()) <= top / 2 or _is_flat(codes, is_between):
        raise ValueError(f"the mask has the values {list_values(values)}, which may be classes; {_WAY_OUT}")
    return np.asarray(brightness > top / 2)


def _is_flat(codes: NDArray[Any], chosen: NDArray[np.bool_]) -> bool:
    """Tell whether most of the chosen pixels lie within an area of one value, 3 pixels wide or wider."""
    num_chosen = int(chosen.sum())
    if num_chosen == 0:
        return False
    same_right = codes[:, :-1] == codes[:, 1:]
    same_below = codes[:-1] == codes[1:]
    # A block of 2 x 2 equal pixels; its pixels are flat.
    block = same_right[:-1] & same_right[1:] & same_below[:, :-1]
    flat = np.zeros(codes.shape, dtype=np.bool_)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            flat[rows, columns] |= block
    return int((flat & chosen).sum()) * 2 > num_chosen


def _pack(values: NDArray[Any]) -> NDArray[Any]:
    """Give every color a number of its own, shape (H, W); black is 0. Gray values stay as they are."""
    if values.ndim == 2:
        return values
    red, green, blue = np.moveaxis(values.astype(np.uint32), 2, 0)
    return np.asarray(red << 16 | green << 8 | blue)


def _as_colors(values: NDArray[Any]) -> NDArray[Any]:
    return values if values.ndim == 3 else np.repeat(values[:, :, None], 3, axis=2)

"""Measure the share of a box with the color that a phrase names, on the part of the object that the color describes."""

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Hsv = NDArray[np.uint8]

# Longest side of the image that colors are measured in, pixels.
SIDE = 320

# Samples of each color, RGB: in the light, in the shade, and of clothes and cars.
_SAMPLES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((0, 0, 0), (30, 30, 32)),
    "white": ((255, 255, 255), (225, 225, 228), (200, 205, 212)),
    "gray": ((128, 128, 128), (95, 95, 98), (165, 165, 168)),
    "red": ((200, 25, 35), (150, 25, 30), (225, 60, 60)),
    "orange": ((240, 130, 30), (220, 100, 30)),
    "brown": ((110, 65, 35), (140, 95, 60), (75, 50, 35)),
    "yellow": ((240, 215, 40), (225, 200, 90)),
    "green": ((40, 140, 60), (30, 80, 50), (120, 180, 80), (90, 110, 60)),
    "blue": ((40, 70, 180), (30, 40, 90), (90, 140, 210), (70, 90, 130)),
    "purple": ((120, 50, 150), (90, 50, 110)),
    "pink": ((245, 150, 190), (230, 90, 150), (235, 185, 195)),
}
# Standard deviation, in CIELAB, of the likeness to a sample. Lightness has less weight, because shade changes it.
_REACH, _LIGHTNESS_SHARE = 10.0, 0.8
# "dark" and "light" describe lightness only: the maximum and the minimum L*, and the width of the transition.
_DARK, _LIGHT, _FADE = 35.0, 65.0, 6.0
_NAMES = (*_SAMPLES, "dark", "light")
_LEVELS = 32  # of each channel in the table of colors
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)
_D65 = np.array([0.95047, 1.0, 1.08883])
_SYNONYMS = {
    "grey": "gray", "silver": "gray", "blonde": "yellow", "blond": "yellow", "golden": "yellow", "gold": "yellow",
    "violet": "purple", "navy": "blue", "denim": "blue", "jeans": "blue", "beige": "light", "maroon": "brown",
}  # fmt: skip
# Rows of a person's box that a garment covers, as shares of the height from the top.
_WORN: tuple[tuple[re.Pattern[str], tuple[float, float]], ...] = (
    (re.compile(r"\b(?:hat|cap|helmet|hair|beanie|hood|headscarf)\b"), (0.0, 0.2)),
    (re.compile(r"\b(?:top|shirt|jacket|coat|vest|sweater|hoodie|blouse|suit|jersey|tie|scarf)\b"), (0.15, 0.55)),
    (re.compile(r"\b(?:clothes|clothing|outfit|dress|uniform|gown|robe|costume)\b"), (0.15, 0.9)),
    (re.compile(r"\b(?:pants|jeans|trousers|shorts|skirt|leggings)\b"), (0.5, 0.9)),
    (re.compile(r"\b(?:shoes|sneakers|boots|sandals|socks)\b"), (0.85, 1.0)),
)  # fmt: skip
# The outer columns of a box show mostly background.
_MIDDLE_COLUMNS = (0.25, 0.75)


def to_hsv(image_rgb: NDArray[np.uint8]) -> Hsv:
    """Shrink an image, uint8, shape (H, W, 3), and convert it to HSV, uint8, shape (h, w, 3)."""
    image = Image.fromarray(image_rgb)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image.convert("HSV"))


def named_color(text: str) -> str | None:
    """Find the first color that a text names, mapped to a basic color; None if it names none.

    Example:
        >>> named_color("a silver car"), named_color("Grey hat"), named_color("striped shirt")
        ('gray', 'gray', None)
    """
    for word in re.findall(r"[a-z]+", text.lower()):
        color = _SYNONYMS.get(word, word)
        if color in _NAMES:
            return color
    return None


def color_shares(text: str, hsv: Hsv, boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Measure the share of each box that has the color named in a text.

    For a garment, only the rows where it is worn count; for anything else, all rows.

    Args:
        text: A phrase such as "white top".
        hsv: Result of `to_hsv`.
        boxes_xyxy: As shares of the image's sides, shape (M, 4).

    Returns:
        Shape (M,), in [0, 1]; None if the text names no color.
    """
    color = named_color(text)
    if color is None:
        return None
    rows = next((rows for pattern, rows in _WORN if pattern.search(text)), (0.0, 1.0))
    image_rgb = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
    index = image_rgb // (256 // _LEVELS)
    likeness = _likeness_table()[..., _NAMES.index(color)][index[..., 0], index[..., 1], index[..., 2]]
    return _average(likeness, boxes_xyxy, rows)


@cache
def _likeness_table() -> NDArray[np.float32]:
    """Tabulate the likeness of each color to each of `_NAMES`, shape (levels of red, green, blue, names), in [0, 1].

    The likenesses of the names in `_SAMPLES` sum to 1. Those of "dark" and "light" are independent.
    """
    levels = (np.arange(_LEVELS) + 0.5) * 256 / _LEVELS
    lab = _to_lab(np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1))
    scale = np.array([_LIGHTNESS_SHARE, 1.0, 1.0])
    nearness = []
    for samples in _SAMPLES.values():
        apart = (lab[..., None, :] - _to_lab(np.array(samples, dtype=np.float64))) * scale
        nearness.append(np.exp(-(apart**2).sum(axis=-1) / (2 * _REACH**2)).max(axis=-1) + 1e-12)
    shares = np.stack(nearness, axis=-1)
    shares /= shares.sum(axis=-1, keepdims=True)
    lightness = lab[..., :1]
    dark, light = ((1 + np.exp(one / _FADE)) ** -1 for one in (lightness - _DARK, _LIGHT - lightness))
    return np.concatenate([shares, dark, light], axis=-1).astype(np.float32)


def _to_lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert sRGB in [0, 255] to CIELAB under D65; both have shape (..., 3)."""
    value = rgb / 255
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    xyz = linear @ _TO_XYZ.T / _D65
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _average(
    shown: NDArray[np.float32], boxes_xyxy: NDArray[np.float64], rows: tuple[float, float]
) -> NDArray[np.float64]:
    """Average a map, shape (h, w), over the middle columns and some rows (as shares of its height) of each box."""
    height, width = shown.shape
    left, right = _MIDDLE_COLUMNS
    means = []
    for x0, y0, x1, y1 in boxes_xyxy:
        down = _span(y0 + rows[0] * (y1 - y0), y0 + rows[1] * (y1 - y0), height)
        across = _span(x0 + left * (x1 - x0), x0 + right * (x1 - x0), width)
        means.append(shown[down, across].mean())
    return np.array(means, dtype=np.float64)


def _span(low: float, high: float, length: int) -> slice:
    """Select the cells from `low` to `high`, both shares of `length`; at least one cell."""
    start = min(int(low * length), length - 1)
    return slice(start, max(int(np.ceil(high * length)), start + 1))

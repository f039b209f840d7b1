"""How much of a box has the color that a phrase names, where on a thing the phrase says it is."""

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Hsv = NDArray[np.uint8]

# Longest side of the image that colors are looked up in.
SIDE = 320

# What goes by a color's name, as RGB: in the light and in the shade, and how clothes and cars have it.
_SAMPLES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "black": ((0, 0, 0), (30, 30, 32)),
    "white": ((255, 255, 255), (225, 225, 228), (200, 205, 212)),
    "grey": ((128, 128, 128), (95, 95, 98), (165, 165, 168)),
    "red": ((200, 25, 35), (150, 25, 30), (225, 60, 60)),
    "orange": ((240, 130, 30), (220, 100, 30)),
    "brown": ((110, 65, 35), (140, 95, 60), (75, 50, 35)),
    "yellow": ((240, 215, 40), (225, 200, 90)),
    "green": ((40, 140, 60), (30, 80, 50), (120, 180, 80), (90, 110, 60)),
    "blue": ((40, 70, 180), (30, 40, 90), (90, 140, 210), (70, 90, 130)),
    "purple": ((120, 50, 150), (90, 50, 110)),
    "pink": ((245, 150, 190), (230, 90, 150), (235, 185, 195)),
}
# Distance in CIELAB at which a color stops being like a sample, and how much of it lightness makes: shade changes it.
_REACH, _LIGHTNESS_SHARE = 10.0, 0.8
# Names of lightness alone: L* from or up to which they hold, and over how much they fade.
_DARK, _LIGHT, _FADE = 35.0, 65.0, 6.0
_NAMES = (*_SAMPLES, "dark", "light")
_LEVELS = 32  # of each channel in the table of colors
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
)
_D65 = np.array([0.95047, 1.0, 1.08883])
_SAME = {
    "gray": "grey", "silver": "grey", "blonde": "yellow", "blond": "yellow", "golden": "yellow", "gold": "yellow",
    "violet": "purple", "navy": "blue", "denim": "blue", "jeans": "blue", "beige": "light", "maroon": "brown",
}  # fmt: skip
# Rows of whoever wears it, from the top, as shares of the height.
_WORN: tuple[tuple[re.Pattern[str], tuple[float, float]], ...] = (
    (re.compile(r"\b(?:hat|cap|helmet|hair|beanie|hood|headscarf)\b"), (0.0, 0.2)),
    (re.compile(r"\b(?:top|shirt|jacket|coat|vest|sweater|hoodie|blouse|suit|jersey|tie|scarf)\b"), (0.15, 0.55)),
    (re.compile(r"\b(?:clothes|clothing|outfit|dress|uniform|gown|robe|costume)\b"), (0.15, 0.9)),
    (re.compile(r"\b(?:pants|jeans|trousers|shorts|skirt|leggings)\b"), (0.5, 0.9)),
    (re.compile(r"\b(?:shoes|sneakers|boots|sandals|socks)\b"), (0.85, 1.0)),
)  # fmt: skip
_HEAD_ROWS = (0.0, 0.2)
# Beside the middle of a box there is mostly background.
_MIDDLE_COLUMNS = (0.25, 0.75)
# Skin, of any tone: hue in degrees up to and from, saturation and value in percent.
_SKIN_HUES, _SKIN_SATURATIONS, _LEAST_SKIN_VALUE = (35, 345), (18, 70), 35


def to_hsv(image_rgb: NDArray[np.uint8]) -> Hsv:
    """Shrink an image, uint8 (H, W, 3), and give its hue, saturation and value, uint8 (h, w, 3)."""
    image = Image.fromarray(image_rgb)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image.convert("HSV"))


def named_color(text: str) -> str | None:
    """Find the first color that a text names, in its plainest name."""
    for word in re.findall(r"[a-z]+", text.lower()):
        color = _SAME.get(word, word)
        if color in _NAMES:
            return color
    return None


def color_shares(text: str, hsv: Hsv, boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Measure how much of each box has the color that a text names.

    A garment is looked for where it is worn, anything else all over the box.

    Args:
        text: Such as "white top".
        hsv: From `to_hsv`.
        boxes_xyxy: In shares of the image's sides, shape (M, 4).

    Returns:
        Shape (M,), in [0, 1]; None where the text names no color.
    """
    color = named_color(text)
    if color is None:
        return None
    rows = next((rows for pattern, rows in _WORN if pattern.search(text)), (0.0, 1.0))
    image_rgb = np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))
    index = image_rgb // (256 // _LEVELS)
    likeness = _likeness_table()[..., _NAMES.index(color)][index[..., 0], index[..., 1], index[..., 2]]
    return _average(likeness, boxes_xyxy, rows, _MIDDLE_COLUMNS)


def face_shares(hsv: Hsv, boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Measure how much of the top of each box looks like skin: more of it where a face looks out of the image.

    Args:
        hsv: From `to_hsv`.
        boxes_xyxy: Of people, in shares of the image's sides, shape (M, 4).

    Returns:
        Shape (M,), in [0, 1].
    """
    hue, saturation, value = (hsv[..., axis] * scale for axis, scale in enumerate((360 / 255, 100 / 255, 100 / 255)))
    has_hue = (hue < _SKIN_HUES[0]) | (hue > _SKIN_HUES[1])
    low, high = _SKIN_SATURATIONS
    is_skin = has_hue & (saturation > low) & (saturation < high) & (value > _LEAST_SKIN_VALUE)
    return _average(is_skin.astype(np.float32), boxes_xyxy, _HEAD_ROWS, (0.0, 1.0))


@cache
def _likeness_table() -> NDArray[np.float32]:
    """How well each color goes by each of `_NAMES`, shape (levels of red, of green, of blue, names), in [0, 1].

    The names of `_SAMPLES` share 1 among them; "dark" and "light" are asked beside them.
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
    """Convert sRGB, shape (..., 3), in [0, 255], to CIELAB under D65."""
    value = rgb / 255
    linear = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
    xyz = linear @ _TO_XYZ.T / _D65
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _average(
    shown: NDArray[np.float32],
    boxes_xyxy: NDArray[np.float64],
    rows: tuple[float, float],
    columns: tuple[float, float],
) -> NDArray[np.float64]:
    """Average a map, shape (h, w), over some rows and columns of each box, in shares of the box's sides."""
    height, width = shown.shape
    means = []
    for x0, y0, x1, y1 in boxes_xyxy:
        down = _span(y0 + rows[0] * (y1 - y0), y0 + rows[1] * (y1 - y0), height)
        across = _span(x0 + columns[0] * (x1 - x0), x0 + columns[1] * (x1 - x0), width)
        means.append(shown[down, across].mean())
    return np.array(means, dtype=np.float64)


def _span(low: float, high: float, length: int) -> slice:
    """Cells from `low` to `high`, in shares of `length`; at least one."""
    start = min(int(low * length), length - 1)
    return slice(start, max(int(np.ceil(high * length)), start + 1))

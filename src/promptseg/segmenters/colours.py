"""How much of a box has the colour that a phrase names, where on a thing the phrase says it is."""

import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Hsv = NDArray[np.uint8]

# Longest side of the picture that colours are looked up in.
SIDE = 320

# Hue in degrees (from, to; across 0 where from > to), saturation and value in percent.
_COLOURS: dict[str, tuple[tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    "black": ((0, 360), (0, 100), (0, 27)),
    "dark": ((0, 360), (0, 100), (0, 35)),
    "white": ((0, 360), (0, 22), (68, 100)),
    "light": ((0, 360), (0, 60), (65, 100)),
    "grey": ((0, 360), (0, 22), (27, 70)),
    "red": ((342, 16), (50, 100), (25, 100)),
    "orange": ((14, 40), (55, 100), (50, 100)),
    "brown": ((8, 42), (25, 90), (15, 60)),
    "yellow": ((40, 68), (35, 100), (50, 100)),
    "blond": ((25, 55), (20, 75), (40, 95)),
    "green": ((68, 168), (22, 100), (15, 100)),
    "blue": ((178, 258), (25, 100), (15, 100)),
    "purple": ((255, 315), (18, 100), (15, 100)),
    "pink": ((310, 360), (15, 75), (55, 100)),
}
_SAME = {
    "gray": "grey", "silver": "grey", "blonde": "blond", "golden": "yellow", "gold": "yellow", "violet": "purple",
    "navy": "blue", "denim": "blue", "jeans": "blue", "beige": "light", "maroon": "brown",
}  # fmt: skip
# Rows of whoever wears it, from the top, as shares of the height.
_WORN: tuple[tuple[re.Pattern[str], tuple[float, float]], ...] = (
    (re.compile(r"\b(?:hat|cap|helmet|hair|beanie|hood|headscarf)\b"), (0.0, 0.2)),
    (re.compile(r"\b(?:top|shirt|jacket|coat|vest|sweater|hoodie|blouse|suit|jersey|tie|scarf)\b"), (0.15, 0.55)),
    (re.compile(r"\b(?:pants|jeans|trousers|shorts|skirt|leggings)\b"), (0.5, 0.9)),
    (re.compile(r"\b(?:shoes|sneakers|boots|sandals|socks)\b"), (0.85, 1.0)),
)  # fmt: skip
_MIDDLE_COLUMNS = (0.2, 0.8)


def to_hsv(image_rgb: NDArray[np.uint8]) -> Hsv:
    """Shrink a picture, uint8 (H, W, 3), and give its hue, saturation and value, uint8 (h, w, 3)."""
    image = Image.fromarray(image_rgb)
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image.convert("HSV"))


def named_colour(text: str) -> str | None:
    """Find the first colour that a text names, in its plainest name."""
    for word in re.findall(r"[a-z]+", text.lower()):
        colour = _SAME.get(word, word)
        if colour in _COLOURS:
            return colour
    return None


def colour_shares(text: str, hsv: Hsv, boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Measure how much of each box has the colour that a text names.

    A garment is looked for where it is worn, anything else all over the box.

    Args:
        text: Such as "white top".
        hsv: From `to_hsv`.
        boxes_xyxy: In shares of the picture's sides, shape (M, 4).

    Returns:
        Shape (M,), in [0, 1]; None where the text names no colour.
    """
    colour = named_colour(text)
    if colour is None:
        return None
    is_colour = _has_colour(hsv, colour)
    top, bottom = next((rows for pattern, rows in _WORN if pattern.search(text)), (0.0, 1.0))
    height, width = is_colour.shape
    shares = []
    for x0, y0, x1, y1 in boxes_xyxy:
        rows = _span(y0 + top * (y1 - y0), y0 + bottom * (y1 - y0), height)
        columns = _span(x0 + _MIDDLE_COLUMNS[0] * (x1 - x0), x0 + _MIDDLE_COLUMNS[1] * (x1 - x0), width)
        shares.append(is_colour[rows, columns].mean())
    return np.array(shares, dtype=np.float64)


def _has_colour(hsv: Hsv, colour: str) -> NDArray[np.bool_]:
    hue, saturation, value = (hsv[..., axis] * scale for axis, scale in enumerate((360 / 255, 100 / 255, 100 / 255)))
    (from_hue, to_hue), saturations, values = _COLOURS[colour]
    in_hue = (hue >= from_hue) & (hue <= to_hue) if from_hue < to_hue else (hue >= from_hue) | (hue <= to_hue)
    in_rest = (
        (saturation >= saturations[0]) & (saturation <= saturations[1]) & (value >= values[0]) & (value <= values[1])
    )
    return np.asarray(in_hue & in_rest)


def _span(low: float, high: float, length: int) -> slice:
    """Cells from `low` to `high`, in shares of `length`; at least one."""
    start = min(int(low * length), length - 1)
    return slice(start, max(int(np.ceil(high * length)), start + 1))

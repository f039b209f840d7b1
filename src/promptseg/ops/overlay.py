"""Masks drawn over their photo, with names."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from promptseg.ops.components import tight_box

# Told apart on photos and by most color-blind eyes when next to each other in this order; then they repeat.
PALETTE_RGB = (
    (255, 87, 51), (0, 163, 255), (255, 195, 0), (162, 89, 255), (0, 200, 120), (255, 105, 180),
    (0, 206, 209), (180, 120, 40), (140, 200, 30), (230, 30, 80), (70, 90, 255), (120, 130, 150),
)  # fmt: skip

# A blurred mask is 255 deep inside, 0 far outside, and passes 127 at the edge. So a table from that value to opacity
# draws a tint with a soft contour just inside the edge, and another one a pale halo just outside.
_FILL_OPACITY = [0 if v < 128 else max(107, min(255, 5 * (255 - v))) for v in range(256)]
_HALO_OPACITY = [min(200, 2 * v) if v < 128 else 0 for v in range(256)]

_BoxXyxy = tuple[int, int, int, int]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, eq=False)
class OverlayLayer:
    """One mask to draw.

    Attributes:
        mask: bool, shape (H, W) of the photo.
        caption: Short text on its label.
        color_index: Which color of the palette; beyond its end it starts again.
    """

    mask: NDArray[np.bool_]
    caption: str
    color_index: int


def draw_overlay(image_rgb: NDArray[np.uint8], layers: Sequence[OverlayLayer]) -> Image.Image:
    """Draw masks over a photo: a tint, a contour, a small label each.

    Large masks lie under small ones. A label goes beside its mask where there is room and never hides all of it; on a
    image smaller than the label there is none.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        layers: What to draw; empty masks are left out.

    Returns:
        RGB image of the same size.
    """
    drawn = sorted((layer for layer in layers if layer.mask.any()), key=lambda layer: -int(layer.mask.sum()))
    canvas = Image.fromarray(image_rgb)
    for layer in drawn:
        _paint(canvas, layer.mask, _color(layer.color_index))
    _write_labels(canvas, drawn)
    return canvas


def _color(index: int) -> tuple[int, int, int]:
    return PALETTE_RGB[index % len(PALETTE_RGB)]


def _paint(canvas: Image.Image, mask: NDArray[np.bool_], color: tuple[int, int, int]) -> None:
    """Tint the mask and draw its contour, in place."""
    line_width = max(1.0, min(mask.shape) / 320)
    left, top, right, bottom = tight_box(mask)
    margin = math.ceil(line_width) + 1
    # Only the window around the mask is worked on; the blur repeats the image's own border, which gets no contour so.
    left, top = max(left - margin, 0), max(top - margin, 0)
    window = mask[top : bottom + margin, left : right + margin]
    blurred = Image.fromarray(window.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(line_width))
    canvas.paste("white", (left, top), blurred.point(_HALO_OPACITY))
    canvas.paste(color, (left, top), blurred.point(_FILL_OPACITY))


def _write_labels(canvas: Image.Image, layers: Sequence[OverlayLayer]) -> None:
    draw = ImageDraw.Draw(canvas, "RGBA")
    font_size = min(max(round(min(canvas.size) / 28), 11), 48)
    font = ImageFont.load_default(font_size)
    pad = max(2, font_size // 3)
    height = font_size + 2 * pad
    taken: list[_BoxXyxy] = []
    for layer in layers:
        caption = _fit(layer.caption, draw, font, canvas.width - 2 * pad)
        if not caption or height > canvas.height:
            continue
        width = round(draw.textlength(caption, font=font)) + 2 * pad
        x, y = _place(layer.mask, (height, width), taken)
        box = (x, y, x + width, y + height)
        taken.append(box)
        color = _color(layer.color_index)
        draw.rounded_rectangle((x, y, x + width - 1, y + height - 1), radius=pad, fill=(*color, 225))
        is_bright = np.dot(color, (0.299, 0.587, 0.114)) > 150
        ink = (20, 20, 20) if is_bright else (255, 255, 255)
        draw.text((x + pad, y + height / 2), caption, fill=ink, font=font, anchor="lm")


def _fit(caption: str, draw: ImageDraw.ImageDraw, font: _Font, max_width: int) -> str:
    if draw.textlength(caption, font=font) <= max_width:
        return caption
    for length in range(len(caption) - 1, 0, -1):
        if draw.textlength(shortened := caption[:length].rstrip() + "…", font=font) <= max_width:
            return shortened
    return ""


def _place(mask: NDArray[np.bool_], label_hw: tuple[int, int], taken: Sequence[_BoxXyxy]) -> tuple[int, int]:
    """Choose the top left corner of a label: clear of other labels first, then hiding least of the mask, then near."""
    H, W = mask.shape
    height, width = label_hw
    left, top, right, bottom = tight_box(mask)
    middle = (left + right - width) // 2
    gap = height // 4
    corners = [
        (left, top - height - gap), (middle, top - height - gap), (right - width, top - height - gap),
        (left, bottom + gap), (middle, bottom + gap), (right + gap, top), (left - width - gap, top),
        (left + gap, top + gap), (middle, (top + bottom - height) // 2), (left + gap, bottom - height - gap),
        (right - width - gap, top + gap), (right - width - gap, bottom - height - gap),
    ]  # fmt: skip
    area = int(mask.sum())

    def cost(corner: tuple[int, int]) -> tuple[int, float]:
        x, y = corner
        overlap = sum(
            max(0, min(x + width, x2) - max(x, x1)) * max(0, min(y + height, y2) - max(y, y1))
            for x1, y1, x2, y2 in taken
        )
        hidden = int(mask[y : y + height, x : x + width].sum()) / area
        # Up to a tenth hidden reads well: prefer the earlier, tidier corner then.
        return overlap, max(hidden, 0.1)

    # Every corner is pushed into the image; min keeps the earliest of equals.
    inside = [(min(max(x, 0), W - width), min(max(y, 0), H - height)) for x, y in corners]
    return min(inside, key=cost)

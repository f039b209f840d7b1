"""Draw masks over their image, with labels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from promptseg._value_checks import checked_probability
from promptseg.ops.label_fonts import Font, choose_font
from promptseg.ops.masks import tight_box

# Neighbors in this order are easy to distinguish on images, also for most color-blind people; then the colors repeat.
PALETTE_RGB = (
    (255, 87, 51), (0, 163, 255), (255, 195, 0), (162, 89, 255), (0, 200, 120), (255, 105, 180),
    (0, 206, 209), (180, 120, 40), (140, 200, 30), (230, 30, 80), (70, 90, 255), (120, 130, 150),
)  # fmt: skip

DEFAULT_ALPHA = 0.42

# A blurred mask is 255 deep inside, 0 far outside, and about 127 at the edge. One table from this value to opacity
# draws a tint with a soft contour just inside the edge; the table below draws a pale halo just outside.
_HALO_OPACITY = [min(200, 2 * v) if v < 128 else 0 for v in range(256)]

_BoxXyxy = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class OverlayLayer:
    """One mask to draw.

    Attributes:
        mask: bool, shape (H, W) of the image.
        caption: Short text on its label, in any script (see `label_fonts`); "": no label.
        color_index: Index into the palette, modulo its length.
        boxes_xyxy: Boxes to outline in the same color, whole pixels, right and bottom exclusive.
        is_hatched: Fill the mask with diagonal stripes, not with an even tint.
    """

    mask: NDArray[np.bool_]
    caption: str
    color_index: int
    boxes_xyxy: tuple[_BoxXyxy, ...] = ()
    is_hatched: bool = False

    def __repr__(self) -> str:
        return f"<OverlayLayer {self.caption!r} color_index={self.color_index} boxes={len(self.boxes_xyxy)}>"


def draw_overlay(
    image_rgb: NDArray[np.uint8], layers: Sequence[OverlayLayer], *, alpha: float = DEFAULT_ALPHA
) -> Image.Image:
    """Draw masks over an image: a tint, a contour and a small label for each.

    Large masks are drawn first, so that small ones are on top. A label is placed beside its mask if there is room, and
    never hides all of it; an image smaller than a label gets none.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        layers: Masks to draw; empty ones are left out.
        alpha: Opacity of the tint, in [0, 1]; contours stay opaque.

    Returns:
        RGB image of the same size.

    Raises:
        PromptError: `alpha` is not in [0, 1].
    """
    alpha = checked_probability(alpha, what="alpha")
    drawn = sorted((layer for layer in layers if layer.mask.any()), key=lambda layer: -int(layer.mask.sum()))
    fill_opacity = [0 if v < 128 else max(round(255 * alpha), min(255, 5 * (255 - v))) for v in range(256)]
    canvas = Image.fromarray(image_rgb)
    for layer in drawn:
        _paint(canvas, layer, fill_opacity)
    for layer in drawn:
        _draw_boxes(canvas, layer)
    _write_labels(canvas, drawn)
    return canvas


def _color(index: int) -> tuple[int, int, int]:
    return PALETTE_RGB[index % len(PALETTE_RGB)]


def _line_width(height: int, width: int) -> float:
    return max(1.0, min(height, width) / 320)


def _paint(canvas: Image.Image, layer: OverlayLayer, fill_opacity: Sequence[int]) -> None:
    """Tint or hatch the mask and draw its contour, in place."""
    mask = layer.mask
    line_width = _line_width(*mask.shape)
    left, top, right, bottom = tight_box(mask)
    margin = math.ceil(line_width) + 1
    # only the window around the mask is drawn; the blur repeats the image's border, so the border gets no contour
    left, top = max(left - margin, 0), max(top - margin, 0)
    window = mask[top : bottom + margin, left : right + margin]
    blurred = Image.fromarray(window.astype(np.uint8) * 255).filter(ImageFilter.BoxBlur(line_width))
    canvas.paste("white", (left, top), blurred.point(_HALO_OPACITY))
    opacity = blurred.point(fill_opacity)
    if layer.is_hatched:
        opacity.paste(0, mask=_draw_gaps(blurred, line_width))
    canvas.paste(_color(layer.color_index), (left, top), opacity)


def _draw_gaps(blurred: Image.Image, line_width: float) -> Image.Image:
    """Draw the gaps between the stripes of a mask, as a mask of its inside; the contour stays whole."""
    is_inside = np.asarray(blurred) == 255
    y, x = np.indices(is_inside.shape)
    stripe = max(2, round(3 * line_width))
    return Image.fromarray(is_inside & ((x + y) // stripe % 2 == 1))


def _draw_boxes(canvas: Image.Image, layer: OverlayLayer) -> None:
    draw = ImageDraw.Draw(canvas)
    line_width = round(_line_width(*layer.mask.shape))
    for left, top, right, bottom in layer.boxes_xyxy:
        draw.rectangle((left, top, right - 1, bottom - 1), outline=_color(layer.color_index), width=line_width)


def _write_labels(canvas: Image.Image, layers: Sequence[OverlayLayer]) -> None:
    draw = ImageDraw.Draw(canvas, "RGBA")
    font_size = min(max(round(min(canvas.size) / 28), 11), 48)
    pad = max(2, font_size // 3)
    height = font_size + 2 * pad
    taken: list[_BoxXyxy] = []
    for layer in layers:
        text, font = choose_font(layer.caption, font_size)
        caption = _fit(text, draw, font, canvas.width - 2 * pad)
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


def _fit(caption: str, draw: ImageDraw.ImageDraw, font: Font, max_width: int) -> str:
    if draw.textlength(caption, font=font) <= max_width:
        return caption
    for length in range(len(caption) - 1, 0, -1):
        if draw.textlength(shortened := caption[:length].rstrip() + "…", font=font) <= max_width:
            return shortened
    return ""


def _place(mask: NDArray[np.bool_], label_hw: tuple[int, int], taken: Sequence[_BoxXyxy]) -> tuple[int, int]:
    """Choose the top left corner of a label: least overlap with labels, then least hidden mask, then list order."""
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
        # up to a tenth of the mask may be hidden in favor of an earlier, tidier corner
        return overlap, max(hidden, 0.1)

    # all corners are moved into the image; min returns the first of equal ones
    inside = [(min(max(x, 0), W - width), min(max(y, 0), H - height)) for x, y in corners]
    return min(inside, key=cost)

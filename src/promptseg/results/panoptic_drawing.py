"""Draw a panoptic map: a color for each class, an outline for each segment, names inside, and a legend below."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from promptseg.errors import PromptError
from promptseg.ops.label_fonts import choose_font
from promptseg.ops.masks import inner_points
from promptseg.ops.overlay import PALETTE_RGB
from promptseg.results.segment import Segment

Color = tuple[int, int, int]

_OUTLINE: Color = (255, 255, 255)
_INK: Color = (30, 30, 30)
_PAPER: Color = (255, 255, 255)
# Objects of one class are told apart by the brightness of its color.
_BRIGHTNESS = (1.0, 0.65, 1.5, 0.8, 1.25)
# Labels of smaller segments would hide them; the legend names them all the same.
_MIN_LABELED_SHARE = 0.004


def draw_panoptic(
    image_rgb: NDArray[np.uint8],
    segment_ids: NDArray[np.int32],
    segments: Sequence[Segment],
    *,
    alpha: float,
    legend: bool,
) -> Image.Image:
    """Draw segments over their image.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        segment_ids: Shape (H, W), 0 for none; what has no segment keeps the image's colors.
        segments: By their id, from 1.
        alpha: Opacity of the colors, in [0, 1].
        legend: Add the legend.

    Returns:
        RGB image.

    Raises:
        PromptError: alpha is not in [0, 1].
    """
    if not 0.0 <= alpha <= 1.0:
        raise PromptError(f"alpha must be an opacity in [0, 1], got {alpha}")
    labels = tuple(dict.fromkeys(segment.label for segment in segments))
    colors = _choose_colors(labels)
    canvas = _tint(image_rgb, segment_ids, _segment_colors(segments, colors), alpha)
    _write_names(canvas, segment_ids, segments, colors)
    if not legend:
        return canvas
    rows = [_LegendRow.of(label, colors[label], segments, segment_ids.size) for label in labels]
    free = float((segment_ids == 0).mean())
    if free > 0:
        rows.append(_LegendRow(None, f"no name {free:.1%}"))
    return _add_legend(canvas, rows)


@dataclass(frozen=True)
class _LegendRow:
    color: Color | None
    text: str

    @classmethod
    def of(cls, label: str, color: Color, segments: Sequence[Segment], num_pixels: int) -> "_LegendRow":
        own = [segment for segment in segments if segment.label == label]
        number = f" x{len(own)}," if own[0].is_thing else ""
        return cls(color, f"{label}{number} {sum(segment.area for segment in own) / num_pixels:.1%}")


def _choose_colors(labels: Sequence[str]) -> dict[str, Color]:
    """Choose a color for each label: mostly the same one in every image, and different ones in one image."""
    taken: set[int] = set()
    colors = {}
    for label in labels:
        index = zlib.crc32(label.encode()) % len(PALETTE_RGB)
        while index in taken:
            index += 1
        taken.add(index)
        colors[label] = _class_color(index)
    return colors


def _class_color(index: int) -> Color:
    """Give a color; after the palette's end, lighter and darker ones."""
    turn, place = divmod(index, len(PALETTE_RGB))
    return _brighten(PALETTE_RGB[place], (1.0, 0.6, 1.5)[turn % 3])


def _brighten(color: Color, factor: float) -> Color:
    """Mix a color with black below 1, with white above."""
    if factor <= 1:
        red, green, blue = (round(channel * factor) for channel in color)
    else:
        red, green, blue = (round(255 - (255 - channel) / factor) for channel in color)
    return red, green, blue


def _segment_colors(segments: Sequence[Segment], colors: dict[str, Color]) -> NDArray[np.float32]:
    """Give the color of each segment by its id, shape (N + 1, 3); that of 0 is not used."""
    by_id = np.zeros((len(segments) + 1, 3), dtype=np.float32)
    counts: dict[str, int] = {}
    for segment in segments:
        number = counts[segment.label] = counts.get(segment.label, -1) + 1
        by_id[segment.id] = _brighten(colors[segment.label], _BRIGHTNESS[number % len(_BRIGHTNESS)])
    return by_id


def _tint(
    image_rgb: NDArray[np.uint8], segment_ids: NDArray[np.int32], colors: NDArray[np.float32], alpha: float
) -> Image.Image:
    painted = image_rgb.astype(np.float32)
    inside = segment_ids > 0
    painted[inside] = (1 - alpha) * painted[inside] + alpha * colors[segment_ids[inside]]
    painted[_edges(segment_ids, max(1, round(min(segment_ids.shape) / 400)))] = _OUTLINE
    return Image.fromarray(painted.round().astype(np.uint8))


def _edges(segment_ids: NDArray[np.int32], width: int) -> NDArray[np.bool_]:
    """Find the pixels of the lines between segments, bool, shape (H, W)."""
    edges = np.zeros(segment_ids.shape, dtype=np.bool_)
    edges[:, width:] |= segment_ids[:, width:] != segment_ids[:, :-width]
    edges[width:] |= segment_ids[width:] != segment_ids[:-width]
    return edges


def _write_names(
    canvas: Image.Image, segment_ids: NDArray[np.int32], segments: Sequence[Segment], colors: dict[str, Color]
) -> None:
    """Write the name of each segment that has room for it at its innermost place."""
    draw = ImageDraw.Draw(canvas, "RGBA")
    size = _font_size(canvas)
    pad = max(2, size // 4)
    for segment in segments:
        if segment.area < _MIN_LABELED_SHARE * segment_ids.size:
            continue
        text, font = choose_font(segment.label, size)
        width, height = draw.textlength(text, font=font) + 2 * pad, size + 2 * pad
        left, top, right, bottom = segment.box_xyxy
        if width > right - left or height > bottom - top:
            continue
        inside = segment_ids[top:bottom, left:right] == segment.id
        x, y = inner_points(inside, 1)[0] + (left, top)
        x, y = (
            float(np.clip(at, half, side - half))
            for at, half, side in ((x, width / 2, canvas.width), (y, height / 2, canvas.height))
        )
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        draw.rounded_rectangle(box, radius=pad, fill=(255, 255, 255, 205), outline=(*colors[segment.label], 255))
        draw.text((x, y), text, fill=_INK, font=font, anchor="mm")


def _add_legend(canvas: Image.Image, rows: Sequence[_LegendRow]) -> Image.Image:
    """Put the image above a legend, whose entries flow from left to right."""
    size = _font_size(canvas)
    line, pad = round(1.7 * size), size // 2
    measure = ImageDraw.Draw(canvas)
    entries: list[tuple[float, float, _LegendRow]] = []
    x, y = float(pad), float(pad)
    for row in rows:
        text, font = choose_font(row.text, size)
        width = 1.4 * size + measure.textlength(text, font=font) + 1.2 * size
        if entries and x + width > canvas.width:
            x, y = float(pad), y + line
        entries.append((x, y, row))
        x += width
    sheet = Image.new("RGB", (canvas.width, canvas.height + round(y) + line + (pad if rows else 0)), _PAPER)
    sheet.paste(canvas)
    draw = ImageDraw.Draw(sheet)
    for x, y, row in entries:
        top = canvas.height + y
        draw.rectangle((x, top, x + size, top + size), fill=row.color or _PAPER, outline=_INK)
        text, font = choose_font(row.text, size)
        draw.text((x + 1.4 * size, top + size / 2), text, fill=_INK, font=font, anchor="lm")
    return sheet


def _font_size(canvas: Image.Image) -> int:
    return min(max(round(min(canvas.size) / 34), 11), 40)

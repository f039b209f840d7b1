"""A contact sheet of images with their masks, for a quick check of the labels."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from promptseg.formats.annotation import Annotation
from promptseg.ops.overlay import OverlayLayer, draw_overlay

# One tile, pixels: the image is fitted into the frame, its name stands under it.
_FRAME_WH = (400, 300)
_CAPTION_HEIGHT = 26
_GAP = 12
_NUM_COLUMNS = 4
_INK, _PAPER, _MOUNT = (25, 25, 28), (255, 255, 255), (238, 238, 240)


def draw_tile(image_rgb: NDArray[np.uint8], annotation: Annotation, classes: Sequence[str]) -> Image.Image:
    """Draw a small image with the masks of its classes.

    Args:
        image_rgb: uint8, shape (H, W, 3).
        annotation: What was found in it.
        classes: The class map; a class has the same color in every image.

    Returns:
        RGB image that fits into a frame of the sheet.
    """
    height, width = annotation.size_hw
    scale = min(_FRAME_WH[0] / width, _FRAME_WH[1] / height)
    size_wh = (max(1, round(width * scale)), max(1, round(height * scale)))
    # Made small first, so that contours and names keep their size.
    small = Image.fromarray(image_rgb).resize(size_wh, Image.Resampling.LANCZOS)
    layers = []
    for region in annotation.regions:
        mask = Image.fromarray(region.area.mask.astype(np.uint8) * 255).resize(size_wh, Image.Resampling.BOX)
        layers.append(OverlayLayer(np.asarray(mask) >= 128, region.label, classes.index(region.label)))
    return draw_overlay(np.asarray(small), layers)


def draw_preview(tiles: Sequence[tuple[str, Image.Image]]) -> Image.Image:
    """Lay out tiles, one or more, each with the name of its image below.

    Returns:
        RGB image, up to four tiles side by side.
    """
    num_columns = min(_NUM_COLUMNS, math.ceil(math.sqrt(len(tiles))))
    step_x, step_y = _FRAME_WH[0] + _GAP, _FRAME_WH[1] + _CAPTION_HEIGHT + _GAP
    size_wh = (num_columns * step_x + _GAP, math.ceil(len(tiles) / num_columns) * step_y + _GAP)
    sheet = Image.new("RGB", size_wh, _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(15)
    for index, (name, tile) in enumerate(tiles):
        row, column = divmod(index, num_columns)
        x, y = _GAP + column * step_x, _GAP + row * step_y
        sheet.paste(_MOUNT, (x, y, x + _FRAME_WH[0], y + _FRAME_WH[1]))
        sheet.paste(tile, (x + (_FRAME_WH[0] - tile.width) // 2, y + (_FRAME_WH[1] - tile.height) // 2))
        shown = name
        while draw.textlength(shown, font=font) > _FRAME_WH[0]:
            shown = shown[: len(shown) // 2 - 2] + "…" + shown[-(len(shown) // 2 - 2) :]
        draw.text((x, y + _FRAME_WH[1] + _CAPTION_HEIGHT / 2), shown, fill=_INK, font=font, anchor="lm")
    return sheet

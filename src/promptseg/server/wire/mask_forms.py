"""The masks of an answer: run-length codes, polygons or PNG files, at the image's size or at a smaller one."""

import base64
from collections.abc import Callable
from dataclasses import replace
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.ops.polygons import TOLERANCE
from promptseg.ops.rle import encode_rle
from promptseg.results import Instance
from promptseg.results.instance import encode_mask_png
from promptseg.server.wire.answers import MaskAnswer, PngForm, PolygonForm, PolygonsForm, Ring, RleForm
from promptseg.server.wire.requests import MaskForm

WriteMask = Callable[[Instance], MaskAnswer]


def shrunk_size(size_hw: tuple[int, int], long_side: int | None) -> tuple[int, int]:
    """Compute the size of the masks, pixels.

    Args:
        size_hw: Of the image.
        long_side: Longer side of the masks; None, or more than the image's: that of the image.
    """
    height, width = size_hw
    scale = 1.0 if long_side is None else min(1.0, long_side / max(size_hw))
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink_instance(instance: Instance, size_hw: tuple[int, int]) -> Instance:
    """Give an object at a smaller size of its image.

    A pixel belongs to it if at least half of its area does; of an object that is too small for that, the pixels with
    the largest shares remain.
    """
    if instance.size_hw == size_hw or not instance.area:
        return replace(instance, size_hw=size_hw)
    step_y, step_x = instance.size_hw[0] / size_hw[0], instance.size_hw[1] / size_hw[1]
    left, top, right, bottom = instance.box_xyxy
    # the smaller pixels that the box touches, and the pixels that these are made of
    x0, y0 = floor(left / step_x), floor(top / step_y)
    x1, y1 = min(size_hw[1], ceil(right / step_x)), min(size_hw[0], ceil(bottom / step_y))
    outer_x, outer_y = floor(x0 * step_x), floor(y0 * step_y)
    padded = np.zeros((ceil(y1 * step_y) - outer_y, ceil(x1 * step_x) - outer_x), dtype=np.uint8)
    padded[top - outer_y : bottom - outer_y, left - outer_x : right - outer_x] = instance.box_mask * np.uint8(255)
    covered = (x0 * step_x - outer_x, y0 * step_y - outer_y, x1 * step_x - outer_x, y1 * step_y - outer_y)
    limits = (0.0, 0.0, float(padded.shape[1]), float(padded.shape[0]))
    box = (covered[0], covered[1], min(covered[2], limits[2]), min(covered[3], limits[3]))
    shares = np.asarray(Image.fromarray(padded).resize((x1 - x0, y1 - y0), Image.Resampling.BOX, box=box))
    mask = shares >= max(1, min(128, int(shares.max())))
    return Instance((x0, y0, x1, y1), instance.score, encode_rle(mask), size_hw, instance.mask_quality)


def mask_writer(form: MaskForm, size_hw: tuple[int, int], mask_size_hw: tuple[int, int]) -> WriteMask | None:
    """Choose what writes the masks of an answer.

    Args:
        form: Of the request.
        size_hw: Of the image.
        mask_size_hw: Of the masks.

    Returns:
        None: the answer has no masks.
    """
    if form == "none":
        return None
    scale_xy = (size_hw[1] / mask_size_hw[1], size_hw[0] / mask_size_hw[0])

    def write(instance: Instance) -> MaskAnswer:
        small = shrink_instance(instance, mask_size_hw)
        match form:
            case "rle":
                return RleForm(size=list(mask_size_hw), counts=small.to_rle()["counts"])
            case "png":
                return PngForm(size=list(mask_size_hw), png=base64.b64encode(encode_mask_png(small.mask)).decode())
            case "polygons":
                return _write_polygons(small, scale_xy)

    return write


def _write_polygons(instance: Instance, scale_xy: tuple[float, float]) -> PolygonsForm:
    def scaled(ring: NDArray[np.int64]) -> Ring:
        points: Ring = np.round(ring * np.array(scale_xy), 2).tolist()
        return points

    return PolygonsForm(
        polygons=[
            PolygonForm(outer=scaled(each.outer), holes=[scaled(hole) for hole in each.holes])
            for each in instance.polygons(tolerance=TOLERANCE)
        ]
    )

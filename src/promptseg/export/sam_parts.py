"""The parts of a SAM: its image encoder, and prompts to masks. Torch is imported only to build them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from promptseg.export.parts import ExportPart, FreeAxis, free
from promptseg.ops.pixels import IMAGENET_MEAN_255, IMAGENET_STD_255
from promptseg.runtime import Step
from promptseg.sam.graphs import SamPart, feature_names
from promptseg.sam.sam import Sam

Axes = dict[str, dict[int, FreeAxis]]

# Sides of all canvases are multiples of this: sam/mobile_sam.py has input_side, a multiple of 64, and 3/4 of it.
CANVAS_MULTIPLE = 16
_SHAPES = ((64, 64), (16, 64), (64, 16))


def sam_parts(sam: Sam, *, choices: Sequence[SamPart]) -> tuple[ExportPart, ...]:
    """Describe the graphs of a SAM.

    Args:
        sam: Of any kind.
        choices: "single" becomes the graph masker-decode, "levels" masker-levels.
    """
    has_oblong = len(canvas_sides(sam)) > 1
    pixels: Axes = {"pixels": {2: FreeAxis("rows", CANVAS_MULTIPLE), 3: FreeAxis("columns", CANVAS_MULTIPLE)}}
    prompts: Axes = {"points_xy": {1: FreeAxis("points")}, "point_labels": {1: FreeAxis("points")}}
    if has_oblong:
        prompts |= {
            name: {2: FreeAxis("rows"), 3: FreeAxis("columns")} for name in feature_names(sam.graphs.num_features)
        }
        prompts["coarse_logits"] = {2: FreeAxis("rows", 4), 3: FreeAxis("columns", 4)}
    encode = pixels if has_oblong else {}
    summaries = {
        "single": "one mask of a box or several points",
        "levels": "three masks of one point, such as part and whole",
    }
    return (
        ExportPart("masker-encode", partial(_encode_step, sam, encode), encode, "pixels to features, once an image"),
        *(
            ExportPart(
                "masker-decode" if choice == "single" else f"masker-{choice}",
                partial(_prompted_step, sam, choice, prompts),
                prompts,
                summaries[choice],
            )
            for choice in choices
        ),
    )


def masker_facts(sam: Sam) -> dict[str, Any]:
    """Describe how an image and a box enter the graphs of a SAM."""
    scale_x, scale_y = sam.frame((16, 64)).scale_xy
    return {
        "longest_side": sam.input_side,
        "keeps_aspect": scale_x == scale_y,
        "canvas_sides": canvas_sides(sam),
        "mean": list(IMAGENET_MEAN_255),
        "std": list(IMAGENET_STD_255),
        "box_labels": [2, 3, -1] if sam.prompt_encoder.ends_boxes else [2, 3],
        "mask_stride": 4,
        "mask_logit": 0.0,
    }


def canvas_sides(sam: Sam) -> list[int]:
    """List the lengths that a side of a canvas may have, pixels, ascending."""
    return sorted({side for size_hw in _SHAPES for side in sam.frame(size_hw).canvas_hw})


def _square(sam: Sam) -> tuple[int, int]:
    return sam.frame((64, 64)).canvas_hw


def _encode_step(sam: Sam, axes: Axes) -> Step:
    return free(sam.graphs.build("encode", _square(sam)), axes)


def _prompted_step(sam: Sam, choice: SamPart, axes: Axes) -> Step:
    # imported here because it imports torch
    from promptseg.export.prompted_decoder import prompted_step

    decode, coarse = (sam.graphs.build(part, _square(sam)) for part in (choice, "coarse"))
    return free(prompted_step(sam.prompt_encoder, decode, coarse), axes)

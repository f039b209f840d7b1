"""Named variants of visual prompts, which mark a region of an image for an encoder.

These are the fifteen variants in Table 2 of the CLIPSeg paper, with the parameters of its published code; the unchanged
image, which is their baseline; and the plain highlight of the ablation (Table 9).

Source:
    Lüddecke & Ecker 2022, arXiv:2112.10003, section 4 and Table 2; github.com/timojl/clipseg @ 77c4e2d (MIT):
    Visual_Feature_Engineering.ipynb, evaluation_utils.py `img_preprocess`, datasets/utils.py.
    Differs: two rows of the notebook contradict the table. "crop & BG intensity 10%" blurs and does not crop, so its
    result equals that of "BG blur + intensity 10%" (21.73): here it crops and does not blur. "crop & BG blur" uses the
    large context; this is kept, and the name states it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

Variant: TypeAlias = Literal[
    "original",
    "mask-cls-last",
    "mask-cls",
    "mask-all",
    "dye",
    "outline",
    "background-50",
    "background-10",
    "background-0",
    "blur",
    "blur-10",
    "crop-context",
    "crop",
    "crop-context-blur",
    "crop-10",
    "crop-blur-10",
    "highlight",
]

# Sizes below are in pixels of an image of 352 x 352, the input size of CLIPSeg.
REFERENCE_SIDE = 352
BLUR_SIGMA = 3.0
CONTEXT, LARGE_CONTEXT = 0.1, 0.5


@dataclass(frozen=True)
class MaskedAttention:
    """Attention inside the encoder that is multiplied by the object's mask.

    Attributes:
        layers: The last layer only, or all layers.
        queries: "cls": attention of the class token; "all": attention of the patches.
    """

    layers: Literal["last", "all"]
    queries: Literal["cls", "all"]


@dataclass(frozen=True)
class Engineering:
    """Changes to an image, in the order of the attributes.

    Attributes:
        blur_sigma: Standard deviation of the background's Gaussian blur, in 352ths of the image's sides; 0: no blur.
        background: Remaining contrast of the background; at 0 it has ImageNet's mean color.
        context: Crop the object's box, with a margin of this share of its extent on each side, and pad it to a square;
            None: the whole image.
        paint: "dye": gray image, red object. "outline": a red line around the object.
        attention: Masked attention of the encoder, with an unchanged image, or None.
    """

    blur_sigma: float = 0.0
    background: float = 1.0
    context: float | None = None
    paint: Literal["dye", "outline"] | None = None
    attention: MaskedAttention | None = None


VARIANTS: Mapping[Variant, Engineering] = MappingProxyType(
    {
        "original": Engineering(),
        "mask-cls-last": Engineering(attention=MaskedAttention("last", "cls")),
        "mask-cls": Engineering(attention=MaskedAttention("all", "cls")),
        "mask-all": Engineering(attention=MaskedAttention("all", "all")),
        "dye": Engineering(paint="dye"),
        "outline": Engineering(paint="outline"),
        "background-50": Engineering(background=0.5),
        "background-10": Engineering(background=0.1),
        "background-0": Engineering(background=0.0),
        "blur": Engineering(blur_sigma=BLUR_SIGMA),
        "blur-10": Engineering(blur_sigma=BLUR_SIGMA, background=0.1),
        "crop-context": Engineering(context=LARGE_CONTEXT),
        "crop": Engineering(context=CONTEXT),
        "crop-context-blur": Engineering(blur_sigma=BLUR_SIGMA, context=LARGE_CONTEXT),
        "crop-10": Engineering(background=0.1, context=CONTEXT),
        "crop-blur-10": Engineering(blur_sigma=BLUR_SIGMA, background=0.1, context=CONTEXT),
        "highlight": Engineering(blur_sigma=1.0, background=0.5),
    }
)

BEST: Variant = "crop-blur-10"

"""The ways of showing an encoder which part of an image is meant, by name.

The fifteen of the CLIPSeg paper's Table 2, with the parameters of its published code; the image as it is, which they
are measured against; and the plain highlight of its ablation (Table 9).

Source:
    Lüddecke & Ecker 2022, arXiv:2112.10003, section 4 and Table 2; github.com/timojl/clipseg @ 77c4e2d (MIT):
    Visual_Feature_Engineering.ipynb, evaluation_utils.py `img_preprocess`, datasets/utils.py.
    Differs: in two rows the notebook does not do what the table says. "crop & BG intensity 10%" blurs and does not
    crop, which is why its figure is that of "BG blur + intensity 10%" (21.73): here it crops and does not blur. "crop &
    BG blur" takes the large context, which is kept, and the name says so.
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

# The sizes below are meant in pixels of an image of 352 x 352, the size that CLIPSeg sees.
REFERENCE_SIDE = 352
BLUR_SIGMA = 3.0
CONTEXT, LARGE_CONTEXT = 0.1, 0.5


@dataclass(frozen=True)
class Attention:
    """Attention inside the encoder that the object's mask weighs.

    Attributes:
        layers: Only the last layer, or all of them.
        queries: "cls": what the class token looks at; "all": what the patches look at.
    """

    layers: Literal["last", "all"]
    queries: Literal["cls", "all"]


@dataclass(frozen=True)
class Engineering:
    """What is done to an image, in the order of the attributes.

    Attributes:
        blur_sigma: Gaussian blur of the background, in 352ths of the image's sides; 0: none.
        background: How much of the background's contrast stays; at 0 it is the mean color of photos.
        context: Cut out the object's box, grown on each side by this share of its own extent, and pad it to a square;
            None: the whole image.
        paint: "dye": gray image, red object. "outline": a red line around the object.
        attention: The image stays, the encoder's attention is masked.
    """

    blur_sigma: float = 0.0
    background: float = 1.0
    context: float | None = None
    paint: Literal["dye", "outline"] | None = None
    attention: Attention | None = None


VARIANTS: Mapping[Variant, Engineering] = MappingProxyType(
    {
        "original": Engineering(),
        "mask-cls-last": Engineering(attention=Attention("last", "cls")),
        "mask-cls": Engineering(attention=Attention("all", "cls")),
        "mask-all": Engineering(attention=Attention("all", "all")),
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

"""One object in an image: a box, a score and a mask, which is kept as a run-length code."""

import io
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg._value_checks import is_number
from promptseg.errors import PromptError
from promptseg.images import LARGEST_LIMITS, ImageSource, name_image, read_image
from promptseg.ops.masks import tight_box
from promptseg.ops.polygons import Polygon, simplify_polygons, trace_polygons
from promptseg.ops.rle import Rle, decode_rle, encode_rle, place_rle, rle_area


@dataclass(frozen=True, eq=False)
class Instance:
    """One object; its mask is decoded each time it is read.

    Attributes:
        box_xyxy: The tight box, whole pixels: (left, top, right, bottom), right and bottom exclusive.
        score: Probability that the object is there and is what the query asked for, in [0, 1].
        rle: The object's pixels inside the box, of the size (bottom - top, right - left).
        size_hw: Height and width of the image, pixels.
        mask_quality: Estimated IoU of the mask with the object's true mask, in [0, 1], as SAM predicts it; None: the
            model gives no estimate.
    """

    box_xyxy: tuple[int, int, int, int]
    score: float
    rle: Rle
    size_hw: tuple[int, int]
    mask_quality: float | None = None

    @classmethod
    def from_mask(cls, mask: NDArray[np.bool_], score: float, mask_quality: float | None = None) -> "Instance":
        """Create the instance of a full-size mask.

        Args:
            mask: bool, shape (H, W) of the image; an empty one gets the box (0, 0, 0, 0).
            score: In [0, 1].
            mask_quality: In [0, 1]; None: unknown.
        """
        height, width = mask.shape
        left, top, right, bottom = box_xyxy = tight_box(mask)
        rle = encode_rle(mask[top:bottom, left:right])
        quality = None if mask_quality is None else float(mask_quality)
        return cls(box_xyxy, float(score), rle, (height, width), quality)

    def __repr__(self) -> str:
        quality = "" if self.mask_quality is None else f" mask_quality={self.mask_quality:.2f}"
        return f"<Instance box_xyxy={self.box_xyxy} score={self.score:.2f}{quality} area={self.area}>"

    def _repr_png_(self) -> bytes:
        return encode_mask_png(self.mask)

    @property
    def box_mask(self) -> NDArray[np.bool_]:
        """The object's pixels inside the box, bool, shape (bottom - top, right - left), read-only."""
        return read_only(decode_rle(self.rle))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The object's pixels in the image, bool, shape (H, W), read-only."""
        left, top, right, bottom = self.box_xyxy
        mask = np.zeros(self.size_hw, dtype=np.bool_)
        mask[top:bottom, left:right] = self.box_mask
        return read_only(mask)

    @cached_property
    def area(self) -> int:
        """Number of the object's pixels."""
        return rle_area(self.rle)

    def polygons(self, *, tolerance: float = 0.0) -> tuple[Polygon, ...]:
        """Convert the mask to polygons in pixels of the image, one for each part.

        Args:
            tolerance: Corners that lie within this distance of the simplified outline are dropped, pixels; 0: the
                polygons follow the edges of the pixels, and enclose exactly the mask.

        Returns:
            Polygons with their holes; none for an empty mask.

        Raises:
            PromptError: The tolerance is no number of pixels from 0 on.
        """
        if not (is_number(tolerance) and tolerance >= 0):
            raise PromptError(f"the tolerance is a number of pixels from 0 on, not {tolerance!r}")
        left, top, _, _ = self.box_xyxy
        return simplify_polygons(trace_polygons(self.box_mask, origin_xy=(left, top)), tolerance)

    def cut_out(self, image: ImageSource) -> Image.Image:
        """Cut the object out of its image.

        Args:
            image: The image that was segmented, as `promptseg.read_image` takes it; `Segmentation.image_rgb` is it.

        Returns:
            RGBA image of the size of the box, transparent black outside the object.

        Raises:
            PromptError: The mask is empty, or the image has another size.
        """
        image_rgb = _as_rgb(image)
        if image_rgb.shape[:2] != self.size_hw:
            raise PromptError(
                f"{name_image(image)}: has {image_rgb.shape[:2]} pixels (H, W), but the image that was segmented has "
                f"{self.size_hw}"
            )
        if not self.area:
            raise PromptError("there is nothing to cut out: the mask is empty")
        left, top, right, bottom = self.box_xyxy
        inside = self.box_mask[..., None]
        rgba = np.concatenate([image_rgb[top:bottom, left:right] * inside, inside * np.uint8(255)], axis=2)
        return Image.fromarray(rgba)

    def to_rle(self) -> Rle:
        """Encode the object in the image, of the size (H, W), without building the full-size mask."""
        return place_rle(self.rle, self.box_xyxy, self.size_hw)

    def to_dict(self) -> dict[str, Any]:
        """Describe the object in JSON's own types; see `Segmentation.to_json`."""
        described = {"box_xyxy": list(self.box_xyxy), "score": round(self.score, 6), "mask": self.to_rle()}
        if self.mask_quality is not None:
            described["mask_quality"] = round(self.mask_quality, 6)
        return described


def _as_rgb(image: ImageSource) -> NDArray[np.uint8]:
    """Read an image, shape (H, W, 3), without the copy that `read_image` makes of an array that is one already."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,):
        return image.astype(np.uint8, copy=False)
    return read_image(image, limits=LARGEST_LIMITS)


def encode_mask_png(mask: NDArray[np.bool_]) -> bytes:
    """Encode a mask, bool, shape (H, W), as PNG: white inside, black outside."""
    encoded = io.BytesIO()
    Image.fromarray(mask).save(encoded, format="PNG")
    return encoded.getvalue()


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """Make an array, of any shape, read-only, and return it."""
    array.flags.writeable = False
    return array

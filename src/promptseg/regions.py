"""A region of an image to look in: prompts are moved into it, and results back into the image.

The region is cut out and segmented as an image of its own. So small objects in it get more pixels of the network's
input, and nothing outside it counts: presence, "the left one" and "background" are all of the region.
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace
from math import ceil, floor
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from promptseg._prompt_checks import checked_box, checked_mask
from promptseg.errors import OutsideImageError, PromptError
from promptseg.ops.masks import tight_box
from promptseg.ops.resize import resize_map
from promptseg.ops.rle import Rle, encode_rle, place_rle
from promptseg.ops.windows import Window
from promptseg.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, Query
from promptseg.results import Instance, QueryResult

Within: TypeAlias = Sequence[float] | NDArray[np.bool_] | BoxPrompt | MaskPrompt
"""A box (left, top, right, bottom), pixels, or a mask, bool, shape (H, W) of the image."""

# Logit of the pixels outside the region.
_OUTSIDE_LOGIT = -20.0
# Longer side of the map of the whole image that a result gets, cells, unless the map of the region is longer.
_MAP_SIDE = 1024

_Prompt = TypeVar("_Prompt", PointPrompt, BoxPrompt)


@dataclass(frozen=True, eq=False)
class SearchRegion:
    """A region of an image.

    Attributes:
        window: Its tight box, whole pixels (left, top, right, bottom), inside the image.
        size_hw: Height and width of the image, pixels.
        mask: Which pixels of the window belong to it, bool, of the window's size; None: all.
    """

    window: Window
    size_hw: tuple[int, int]
    mask: NDArray[np.bool_] | None = None

    @classmethod
    def read(cls, within: Within, size_hw: tuple[int, int]) -> "SearchRegion":
        """Read what a caller gives.

        Args:
            within: A box or a mask. A box holds every pixel that it touches; what lies outside the image is cut off.
            size_hw: Height and width of the image, pixels.

        Raises:
            PromptError: It is neither, or malformed.
            OutsideImageError: The box lies outside the image, or the mask has another size.
        """
        if hasattr(within, "__array__"):  # a tensor, say
            within = np.asarray(within)
        match within:
            case BoxPrompt(box_xyxy=box):
                return cls._of_box(box, size_hw)
            case MaskPrompt(mask=mask):
                return cls._of_mask(mask, size_hw)
            case np.ndarray() if within.ndim == 2:
                return cls._of_mask(checked_mask(within, what="the mask of within"), size_hw)
            case str() | bytes():
                raise PromptError(f"within is a box or a mask, not {within!r:.80}; promptseg.read_mask reads a mask")
        return cls._of_box(checked_box(within, what="within"), size_hw)

    @classmethod
    def _of_box(cls, box_xyxy: tuple[float, float, float, float], size_hw: tuple[int, int]) -> "SearchRegion":
        height, width = size_hw
        left, top, right, bottom = box_xyxy
        window = max(0, floor(left)), max(0, floor(top)), min(width, ceil(right)), min(height, ceil(bottom))
        if window[0] >= window[2] or window[1] >= window[3]:
            raise OutsideImageError(f"within: the box {box_xyxy} lies outside the image, {width}x{height}")
        return cls(window, size_hw)

    @classmethod
    def _of_mask(cls, mask: NDArray[np.bool_], size_hw: tuple[int, int]) -> "SearchRegion":
        if mask.shape != size_hw:
            raise OutsideImageError(
                f"within: the mask is {mask.shape[1]}x{mask.shape[0]} pixels, the image {size_hw[1]}x{size_hw[0]}"
            )
        left, top, right, bottom = window = tight_box(mask)
        return cls(window, size_hw, mask[top:bottom, left:right])

    def cut(self, image: NDArray[Any]) -> NDArray[Any]:
        """Cut the window out of an array of the image, shape (H, W, ...)."""
        left, top, right, bottom = self.window
        return image[top:bottom, left:right]

    def to_rle(self) -> Rle:
        """Encode which pixels of the image belong to it."""
        left, top, right, bottom = self.window
        mask = np.ones((bottom - top, right - left), dtype=np.bool_) if self.mask is None else self.mask
        return place_rle(encode_rle(mask), self.window, self.size_hw)

    def move_query(self, query: Query) -> Query:
        """Move the points, boxes and masks of a query into the window; phrases and exemplars stay as they are.

        Points beside the object that lie outside the window say nothing there, and are left out.

        Raises:
            OutsideImageError: A prompt lies outside the window, or a mask is of another size than the image.
        """
        prompts = tuple(moved for prompt in query.prompts if (moved := self._move(prompt, query.label)) is not None)
        if not prompts:
            raise OutsideImageError(f"all prompts of {query.label!r} lie outside the region, {self.window}")
        return replace(query, prompts=prompts)

    def _move(self, prompt: Prompt, label: str) -> Prompt | None:
        match prompt:
            case PointPrompt():
                return self._move_points(prompt, label)
            case BoxPrompt(box_xyxy=box):
                return _with(prompt, box_xyxy=self._move_box(box, label))
            case MaskPrompt():
                return self._move_mask(prompt, label)
        return prompt

    def _move_points(self, prompt: PointPrompt, label: str) -> PointPrompt | None:
        left, top, right, bottom = self.window
        moved = []
        for (x, y), is_on in zip(prompt.points_xy, prompt.on_object or (), strict=True):
            if left <= x <= right and top <= y <= bottom:
                moved.append(((x - left, y - top), is_on))
            elif is_on:
                raise OutsideImageError(f"the point ({x:g}, {y:g}) of {label!r} is outside the region, {self.window}")
        if not moved:
            return None
        points, on_object = zip(*moved, strict=True)
        return _with(prompt, points_xy=points, on_object=on_object)

    def _move_box(self, box: tuple[float, float, float, float], label: str) -> tuple[float, float, float, float]:
        left, top, right, bottom = self.window
        x0, y0, x1, y1 = max(box[0], left), max(box[1], top), min(box[2], right), min(box[3], bottom)
        if x0 >= x1 or y0 >= y1:
            raise OutsideImageError(f"the box {box} of {label!r} is outside the region, {self.window}")
        return x0 - left, y0 - top, x1 - left, y1 - top

    def _move_mask(self, prompt: MaskPrompt, label: str) -> MaskPrompt:
        height, width = self.size_hw
        if prompt.mask.shape != self.size_hw:
            raise OutsideImageError(
                f"the mask of {label!r} is {prompt.mask.shape[1]}x{prompt.mask.shape[0]} pixels, the image "
                f"{width}x{height}"
            )
        mask = self.cut(prompt.mask)
        if not mask.any():
            raise OutsideImageError(f"the mask of {label!r} is outside the region, {self.window}")
        if prompt.logits is None:
            return MaskPrompt(mask)
        rows, columns = prompt.logits.shape
        left, top, right, bottom = self.window
        covered = left * columns / width, top * rows / height, right * columns / width, bottom * rows / height
        shape = max(1, round(covered[3] - covered[1])), max(1, round(covered[2] - covered[0]))
        return MaskPrompt(mask, resize_map(prompt.logits, shape, covered_xyxy=covered))

    def place(self, result: QueryResult) -> QueryResult:
        """Bring a result of the window into the image.

        Returns:
            The same presence, unless nothing of the object lies in the region's mask; masks and instances in the image;
            and a map of the whole image, which is an approximation.
        """
        # what an absent object would have is kept too, so that the result can be read with another threshold
        whole = replace(result, presence_threshold=0.0)
        mask = whole.mask if self.mask is None else whole.mask & self.mask
        is_cut_off = not mask.any() and bool(whole.mask.any())
        return replace(
            result,
            presence=0.0 if is_cut_off else result.presence,
            mask_logits=self._place_map(result.mask_logits),
            size_hw=self.size_hw,
            model_instances=tuple(moved for each in whole.instances if (moved := self._place_instance(each)).area),
            stored_mask=place_rle(encode_rle(mask), self.window, self.size_hw),
        )

    def place_ids(self, ids: NDArray[np.int32]) -> NDArray[np.int32]:
        """Bring the numbers of a window's pixels, shape (h, w), into the image, shape (H, W); 0 outside the region."""
        placed = np.zeros(self.size_hw, dtype=np.int32)
        self.cut(placed)[...] = ids if self.mask is None else np.where(self.mask, ids, 0)
        return placed

    def _place_instance(self, instance: Instance) -> Instance:
        left, top, _, _ = self.window
        if self.mask is not None:
            instance = Instance.from_mask(instance.mask & self.mask, instance.score, instance.mask_quality)
        x0, y0, x1, y1 = instance.box_xyxy
        return replace(instance, box_xyxy=(left + x0, top + y0, left + x1, top + y1), size_hw=self.size_hw)

    def _place_map(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Place a map of the window, shape (h, w), in a map of the whole image with cells of about the same size."""
        (height, width), (rows, columns) = self.size_hw, logits.shape
        left, top, right, bottom = self.window
        shape = (
            min(ceil(height * rows / (bottom - top)), max(rows, _MAP_SIDE)),
            min(ceil(width * columns / (right - left)), max(columns, _MAP_SIDE)),
        )
        # every cell that the window touches
        y0, y1 = floor(top * shape[0] / height), ceil(bottom * shape[0] / height)
        x0, x1 = floor(left * shape[1] / width), ceil(right * shape[1] / width)
        placed = np.full(shape, _OUTSIDE_LOGIT, dtype=np.float32)
        placed[y0:y1, x0:x1] = resize_map(logits, (y1 - y0, x1 - x0))
        return placed


def _with(prompt: _Prompt, **values: object) -> _Prompt:
    """Copy a prompt with other values; they are not checked, because coordinates of a small region look like shares."""
    moved = copy(prompt)
    for name, value in values.items():
        object.__setattr__(moved, name, value)
    return moved

"""The result of one query: presence, mask and instances.

A result keeps the model's small logit map, and its masks as run-length codes. Full-size arrays are computed each time
they are read, so that a thousand phrases on a large image fit in memory.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.images import ImageSource
from promptseg.ops.masks import iterate_components
from promptseg.ops.polygons import Polygon
from promptseg.ops.resize import logit, resize_map, sigmoid, threshold_map
from promptseg.ops.rle import Rle, decode_rle, encode_rle
from promptseg.prompts import MaskPrompt
from promptseg.results.instance import Instance, encode_mask_png, read_only

Status = Literal["present", "unsure", "absent"]

# A connected part smaller than this share of the largest one of its query is noise of the mask, not an object.
MIN_INSTANCE_SHARE = 0.02


def invert_label(label: str) -> str:
    """Name everything but an object."""
    return f"everything but {label}"


@dataclass(frozen=True, eq=False)
class QueryResult:
    """The result of one query.

    Attributes:
        label: The label of the query.
        presence: Calibrated probability that the object is in the image.
        mask_logits: The model's map over the whole image at its own resolution, float32, shape (h, w).
        size_hw: Height and width of the image, pixels.
        presence_threshold: From this presence on the object counts as present.
        mask_threshold: Probability from which a pixel belongs to the object; in [0, 1].
        model_instances: The instances that the model found; `mask` is their union. None: the model finds none itself,
            and the instances are the connected parts of the mask.
        stored_mask: The mask of a loaded result (`Segmentation.load`) or of a region, of the size (H, W), if the object
            is present; None: `mask` is computed.
        unsure_threshold: From this presence on, and below `presence_threshold`, the model is unsure; None: it never is.
        read_as: The known name that the model took the phrase as ("cart" for "soapbox cart"); None: it took the phrase
            as it is.
    """

    label: str
    presence: float
    mask_logits: NDArray[np.float32]
    size_hw: tuple[int, int]
    presence_threshold: float
    mask_threshold: float
    model_instances: tuple[Instance, ...] | None = None
    stored_mask: Rle | None = field(default=None, kw_only=True)
    unsure_threshold: float | None = field(default=None, kw_only=True)
    read_as: str | None = field(default=None, kw_only=True)

    def __repr__(self) -> str:
        taken = "" if self.read_as is None else f" read_as={self.read_as!r}"
        return (
            f"<QueryResult {self.label!r} {self.status}{taken} presence={self.presence:.2f} "
            f"instances={len(self.instances)}>"
        )

    def _repr_png_(self) -> bytes:
        return encode_mask_png(self.mask)

    @property
    def found(self) -> tuple[Instance, ...] | None:
        """The old name of `model_instances`."""
        warnings.warn("QueryResult.found is now model_instances", DeprecationWarning, stacklevel=2)
        return self.model_instances

    @property
    def is_present(self) -> bool:
        """Whether presence reaches `presence_threshold`: whether `status` is "present"."""
        return self.presence >= self.presence_threshold

    @property
    def status(self) -> Status:
        """Whether the object is in the image: "present", "absent", or "unsure" if the evidence conflicts.

        An unsure object has a mask and instances like a present one. Overlays draw it hatched; data sets leave it out.
        """
        if self.is_present:
            return "present"
        is_unsure = self.unsure_threshold is not None and self.presence >= self.unsure_threshold
        return "unsure" if is_unsure else "absent"

    @property
    def caption(self) -> str:
        """The label, and what it was taken as: "soapbox cart: taken as cart"."""
        return self.label if self.read_as is None else f"{self.label}: taken as {self.read_as}"

    @property
    def probability(self) -> NDArray[np.float32]:
        """Probability that each pixel belongs to the object, given that it is in the image: float32, shape (H, W).

        It is computed for absent objects too. A loaded result has an approximation: the saved mask at a low resolution.
        """
        return read_only(sigmoid(resize_map(self.mask_logits, self.size_hw)))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The pixels of the object: bool, shape (H, W); empty when it is absent."""
        return self.whole.mask

    @property
    def area(self) -> int:
        """Number of pixels of `mask`."""
        return self.whole.area

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """The instances, best score first; none when the object is absent.

        They are the model's own (`model_instances`, without empty ones). If the model finds none itself, they are the
        connected parts of `mask`, with the presence times the mean probability of their pixels as score; parts smaller
        than 2 % of the largest one are left out.
        """
        if self.status == "absent":
            return ()
        if self.model_instances is None:
            instances: Iterator[Instance] = self._parts()
        else:
            instances = (each for each in self.model_instances if each.rle["size"][0])
        return tuple(sorted(instances, key=lambda instance: -instance.score))

    def polygons(self, *, tolerance: float = 0.0) -> tuple[Polygon, ...]:
        """Convert `mask` to polygons, one for each part; see `Instance.polygons`."""
        return self.whole.polygons(tolerance=tolerance)

    def cut_out(self, image: ImageSource) -> Image.Image:
        """Cut everything in `mask` out of its image, as RGBA; see `Instance.cut_out`."""
        return self.whole.cut_out(image)

    def to_rle(self) -> Rle:
        """Encode `mask`, of the size (H, W)."""
        return self.whole.to_rle()

    def inverted(self) -> "QueryResult":
        """Give everything but the object, labeled "everything but ...": the whole image where the object is absent.

        Its presence is 1, unless the object fills the image. Its map is inverted too.
        """
        rest = ~self.mask
        presence = float(rest.any())
        nothing = np.full_like(self.mask_logits, -20.0)
        return replace(
            self,
            label=invert_label(self.label),
            presence=presence,
            mask_logits=-(nothing if self.status == "absent" else self.mask_logits),
            model_instances=(Instance.from_mask(rest, presence),) if presence else (),
            stored_mask=None,
            read_as=None,
        )

    def as_prompt(self) -> MaskPrompt:
        """Convert the result to a prompt, to correct it: send it again together with the next clicks.

        Raises:
            PromptError: The mask is empty: there is nothing to correct.
        """
        # Shifted, so that 0 is the edge of the mask. A threshold of 0 or 1 has an infinite logit: the map has no edge.
        edge = logit(self.mask_threshold)
        return MaskPrompt(self.mask, self.mask_logits - np.float32(edge) if np.isfinite(edge) else None)

    @cached_property
    def whole(self) -> Instance:
        """Everything in `mask` as one instance, with the presence as its score."""
        # A code, not the array: the masks of a long request on a large image would not fit in memory.
        mask = np.zeros(self.size_hw, dtype=np.bool_)
        if self.stored_mask is not None:
            mask = decode_rle(self.stored_mask) if self.status != "absent" else mask
        elif self.model_instances is not None:
            for instance in self.instances:
                left, top, right, bottom = instance.box_xyxy
                mask[top:bottom, left:right] |= instance.box_mask
        elif self.status != "absent":
            # Compared as logits: on a large image the sigmoid costs more than everything else.
            mask = threshold_map(self.mask_logits, self.size_hw, logit(self.mask_threshold))
        return Instance.from_mask(mask, self.presence)

    def _parts(self) -> Iterator[Instance]:
        for (rows, columns), box_mask in iterate_components(self.mask, min_share=MIN_INSTANCE_SHARE):
            box_xyxy = (columns.start, rows.start, columns.stop, rows.stop)
            logits = resize_map(self.mask_logits, self.size_hw, window_xyxy=box_xyxy)
            score = float(sigmoid(logits[box_mask]).mean()) * self.presence
            yield Instance(box_xyxy, score, encode_rle(box_mask), self.size_hw)

    def to_dict(self) -> dict[str, Any]:
        """Describe the result in JSON's own types; see `Segmentation.to_json`."""
        return {
            "label": self.label,
            "presence": round(self.presence, 6),
            "is_present": self.is_present,
            "status": self.status,
            "read_as": self.read_as,
            "mask": self.to_rle(),
            "instances": [each.to_dict() for each in self.instances],
        }

"""A panoptic map: every pixel of an image has one segment at most, things are counted one by one."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.errors import UnknownLabelError
from promptseg.image_files import expand_home
from promptseg.language.class_list import NamedClass
from promptseg.ops.overlay import DEFAULT_ALPHA
from promptseg.ops.rle import Rle
from promptseg.results.instance import Instance
from promptseg.results.panoptic_drawing import draw_panoptic
from promptseg.results.panoptic_files import PANOPTIC_SCHEMA, write_panoptic_files
from promptseg.results.query_result import QueryResult
from promptseg.results.saved import approximate_logits
from promptseg.results.segment import Segment
from promptseg.results.segmentation import Segmentation

# A pixel of a map belongs to its class or not; any probability between is as good.
_MASK_THRESHOLD = 0.5

Unlabelled = Literal["keep", "fill"]
UNLABELLED: tuple[Unlabelled, ...] = ("keep", "fill")


@dataclass(frozen=True, eq=False)
class Panoptic:
    """The panoptic map of an image.

    Attributes:
        image_rgb: The image, uint8, shape (H, W, 3), upright.
        segment_ids: The id of each pixel's segment, int32, shape (H, W), read-only; 0: none.
        segments: The segments, by their id.
        classes: The classes that were asked for, in order; what decided whether each is a thing.
        presence: Probability that each class is in the image.
        presence_threshold: With a lower presence a class counts as absent and is never painted.
        unlabelled: What became of pixels of which no class is sure: "keep" left them 0, "fill" gave them the best class
            that is present.
        model: Name of the model.
        fingerprint: Identifies the checkpoint of that model.
        source: Path or name of the image; None: unknown.
        min_score: Minimum score of a segment that was asked for; None: the model's own.
        min_area: Minimum area of a segment that was asked for, pixels; None: the model's own.
        within: Where was looked: a mask of the image, as COCO's RLE; None: everywhere.
    """

    image_rgb: NDArray[np.uint8]
    segment_ids: NDArray[np.int32]
    segments: tuple[Segment, ...]
    classes: tuple[NamedClass, ...]
    presence: tuple[float, ...]
    presence_threshold: float
    unlabelled: Unlabelled
    model: str
    fingerprint: str = ""
    source: str | None = None
    min_score: float | None = None
    min_area: int | None = None
    within: Rle | None = None

    def __repr__(self) -> str:
        shown = [f"{segment.label!r} {segment.score:.2f}" for segment in self.segments[:5]]
        more = [f"{len(self.segments) - 5} more"] if len(self.segments) > 5 else []
        return f"<Panoptic by {self.model!r} size_hw={self.size_hw} {', '.join(shown + more)}>"

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image, pixels."""
        height, width, _ = self.image_rgb.shape
        return height, width

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of the classes, in their order; `semantic` holds indexes into it."""
        return tuple(one.label for one in self.classes)

    @property
    def unlabelled_share(self) -> float:
        """Share of the pixels that have no segment."""
        return float((self.segment_ids == 0).mean())

    @cached_property
    def semantic(self) -> NDArray[np.int32]:
        """The class of each pixel, an index into `labels`, int32, shape (H, W), read-only; -1: none."""
        class_of_id = np.full(len(self.segments) + 1, -1, dtype=np.int32)
        for segment in self.segments:
            class_of_id[segment.id] = self.labels.index(segment.label)
        semantic = class_of_id[self.segment_ids]
        semantic.flags.writeable = False
        return semantic

    def count(self, label: str) -> int:
        """Count the segments of a class.

        Raises:
            UnknownLabelError: No class has this label.
        """
        self._check(label)
        return sum(segment.label == label for segment in self.segments)

    def mask(self, label: str) -> NDArray[np.bool_]:
        """Give the pixels of a class, bool, shape (H, W); empty where it is absent.

        Raises:
            UnknownLabelError: No class has this label.
        """
        self._check(label)
        return self.semantic == self.labels.index(label)

    def instance(self, segment: Segment) -> Instance:
        """Give a segment as an instance, with its mask."""
        left, top, right, bottom = segment.box_xyxy
        mask = np.zeros(self.size_hw, dtype=np.bool_)
        mask[top:bottom, left:right] = self.segment_ids[top:bottom, left:right] == segment.id
        return Instance.from_mask(mask, segment.score)

    def to_segmentation(self) -> Segmentation:
        """Convert the map to one result for each class, whose instances are the segments.

        So every format of `promptseg.write` holds it, and `to_supervision` too. A class that is present but won no
        pixel has an empty mask and no instances.
        """
        by_label: dict[str, list[Instance]] = {label: [] for label in self.labels}
        for segment in self.segments:
            by_label[segment.label].append(self.instance(segment))
        results = tuple(
            self._to_result(label, presence, tuple(by_label[label]))
            for label, presence in zip(self.labels, self.presence, strict=True)
        )
        return Segmentation(
            self.image_rgb,
            results,
            self.model,
            self.presence_threshold,
            _MASK_THRESHOLD,
            self.fingerprint,
            self.source,
        )

    def to_dict(self) -> dict[str, Any]:
        """Describe everything except the pixels of the image in JSON's own types; see `to_json`."""
        return {
            "schema": PANOPTIC_SCHEMA,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "size_hw": list(self.size_hw),
            "presence_threshold": self.presence_threshold,
            "unlabelled": self.unlabelled,
            "min_score": self.min_score,
            "min_area": self.min_area,
            "within": self.within,
            "unlabelled_share": round(self.unlabelled_share, 6),
            "classes": [
                {
                    "label": one.label,
                    "synonyms": list(one.synonyms),
                    "is_thing": one.is_thing,
                    "decided_by": one.decided_by,
                    "presence": round(presence, 6),
                }
                for one, presence in zip(self.classes, self.presence, strict=True)
            ],
            "segments": [
                {
                    "id": segment.id,
                    "label": segment.label,
                    "is_thing": segment.is_thing,
                    "score": round(segment.score, 6),
                    "area": segment.area,
                    "box_xyxy": list(segment.box_xyxy),
                    "mask": self.instance(segment).to_rle(),
                }
                for segment in self.segments
            ],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Describe the map as JSON.

        The object has the keys `schema`, `model`, `fingerprint`, `size_hw` (height, width), `presence_threshold`,
        `unlabelled`, `min_score`, `min_area`, `within`, `unlabelled_share`, `classes` (`label`, `synonyms`,
        `is_thing`, `decided_by`, `presence`) and `segments` (`id`, `label`, `is_thing`, `score`, `area`, `box_xyxy`,
        `mask`), the largest first. A mask, that of `within` too, is COCO's compressed RLE, `{"size": [height, width],
        "counts": text}`.

        Args:
            indent: Spaces for each level; None: everything on one line.
        """
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def overlay(self, *, alpha: float = DEFAULT_ALPHA, legend: bool = True) -> Image.Image:
        """Draw the segments over the image, in one color a class, with the outline of each segment.

        Args:
            alpha: Opacity of the segments, in [0, 1].
            legend: Add a legend below: the color of each class, its name, how many, and its share of the image.

        Returns:
            RGB image of the same width; of the same size without a legend.

        Raises:
            PromptError: alpha is not in [0, 1].
        """
        return draw_panoptic(self.image_rgb, self.segment_ids, self.segments, alpha=alpha, legend=legend)

    def save(self, directory: str | Path) -> tuple[Path, ...]:
        """Write `panoptic-overlay.png`, `panoptic.png`, `semantic.png` and `panoptic.json`.

        A pixel's color in `panoptic.png` is its segment, id = R + 256 G + 65536 B, as in COCO; `semantic.png` holds the
        index of its class plus 1, 0 for none. Each file appears complete or not at all; the JSON comes last.

        Args:
            directory: Created if it is missing; "~" is the home folder.

        Returns:
            The files, in this order.

        Raises:
            OutputError: A file can't be written; the message names it.
        """
        document = {**self.to_dict(), "image": {"source": self.source, "size_hw": list(self.size_hw)}}
        return write_panoptic_files(expand_home(directory), document, self.segment_ids, self.semantic, self.overlay())

    def _check(self, label: str) -> None:
        if label not in self.labels:
            raise UnknownLabelError(f"no class has the label {label!r}; there are {', '.join(map(repr, self.labels))}")

    def _to_result(self, label: str, presence: float, instances: tuple[Instance, ...]) -> QueryResult:
        mask_logits = approximate_logits(self.mask(label), _MASK_THRESHOLD)
        return QueryResult(
            label, presence, mask_logits, self.size_hw, self.presence_threshold, _MASK_THRESHOLD, instances
        )

"""What comes back: one result for each query, with masks at the photo's own size.

A result keeps the model's small logit map, and its masks as run-length codes; full-size arrays are worked out each time
they are asked for, so that a thousand phrases on a large photo fit in memory. Results are frozen, and their arrays
can't be written to.
"""

import json
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg._extras import require
from promptseg.ops.atomic import atomic_file
from promptseg.ops.components import iterate_components, tight_box
from promptseg.ops.overlay import OverlayLayer, draw_overlay
from promptseg.ops.resize import logit, resize_map, sigmoid, threshold_map
from promptseg.ops.rle import Rle, decode_rle, encode_rle, place_rle
from promptseg.prompts import MaskPrompt

# An object smaller than this share of the largest one of its query is a crumb of the mask, not an object.
MIN_INSTANCE_SHARE = 0.02

JSON_SCHEMA = "promptseg/segmentation-1"


@dataclass(frozen=True, eq=False)
class Instance:
    """One object; its mask is kept as the run-length code of its box, and decoded when it is asked for.

    Attributes:
        box_xyxy: The tight box, whole pixels: (left, top, right, bottom), right and bottom exclusive.
        score: How sure the model is of this object, in [0, 1].
        rle: The object's pixels inside the box, of the size (bottom - top, right - left).
        size_hw: Height and width of the photo.
    """

    box_xyxy: tuple[int, int, int, int]
    score: float
    rle: Rle
    size_hw: tuple[int, int]

    @classmethod
    def from_mask(cls, mask: NDArray[np.bool_], score: float) -> "Instance":
        """Make the instance that a full-size mask shows.

        Args:
            mask: bool, shape (H, W) of the photo; one without a pixel gives the box (0, 0, 0, 0).
            score: In [0, 1].
        """
        height, width = mask.shape
        left, top, right, bottom = box_xyxy = tight_box(mask)
        return cls(box_xyxy, float(score), encode_rle(mask[top:bottom, left:right]), (height, width))

    @property
    def box_mask(self) -> NDArray[np.bool_]:
        """The object's pixels inside the box, bool, shape (bottom - top, right - left)."""
        return _frozen(decode_rle(self.rle))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The object in the photo, bool, shape (H, W)."""
        left, top, right, bottom = self.box_xyxy
        mask = np.zeros(self.size_hw, dtype=np.bool_)
        mask[top:bottom, left:right] = self.box_mask
        return _frozen(mask)

    def to_rle(self) -> Rle:
        """Encode the object in the photo, of the size (H, W), without building the full-size mask."""
        return place_rle(self.rle, self.box_xyxy, self.size_hw)


@dataclass(frozen=True, eq=False)
class QueryResult:
    """The answer to one query.

    Attributes:
        label: The label of the query.
        presence: Calibrated probability that the thing is in the photo at all.
        mask_logits: The model's map over the whole photo at its own resolution, float32, shape (h, w).
        size_hw: Height and width of the photo.
        presence_threshold: Below it the thing counts as absent.
        mask_threshold: Probability from which a pixel belongs to the thing; in [0, 1].
        found: The objects that the model itself named; the mask is their union then. None: it names none, the objects
            are the connected parts of the mask.
    """

    label: str
    presence: float
    mask_logits: NDArray[np.float32]
    size_hw: tuple[int, int]
    presence_threshold: float
    mask_threshold: float
    found: tuple[Instance, ...] | None = None

    @property
    def is_present(self) -> bool:
        """Whether presence reaches the threshold; where it does not, `mask` is empty."""
        return self.presence >= self.presence_threshold

    @property
    def probability(self) -> NDArray[np.float32]:
        """How likely each pixel is the thing, were it in the photo: float32, shape (H, W), also where it is absent."""
        return _frozen(sigmoid(resize_map(self.mask_logits, self.size_hw)))

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Where the thing is: bool, shape (H, W); nowhere when it is absent."""
        return self._whole.mask

    @cached_property
    def instances(self) -> tuple[Instance, ...]:
        """The objects, best score first; none when the thing is absent.

        They are those that the model named (`found`, less the ones without a pixel). Where it names none they are the
        connected parts of `mask` with their mean probability times the presence as score; crumbs under 2 % of the
        largest one are left out.
        """
        if not self.is_present:
            return ()
        objects = self._parts() if self.found is None else (each for each in self.found if each.rle["size"][0])
        return tuple(sorted(objects, key=lambda instance: -instance.score))

    def to_rle(self) -> Rle:
        """Encode `mask`, of the size (H, W)."""
        return self._whole.to_rle()

    def as_prompt(self) -> MaskPrompt:
        """Give the answer as a prompt, to be corrected: ask again with it and the next clicks.

        Raises:
            PromptError: The mask is empty: there is nothing to correct.
        """
        # So that 0 is the edge of the mask. At a threshold of 0 or 1, whose logit is infinite, the map says nothing.
        edge = logit(self.mask_threshold)
        return MaskPrompt(self.mask, self.mask_logits - np.float32(edge) if np.isfinite(edge) else None)

    @cached_property
    def _whole(self) -> Instance:
        # Not the array: the masks of a request on a large photo are kept as codes, and the photo's size is paid once.
        mask = np.zeros(self.size_hw, dtype=np.bool_)
        if self.found is not None:
            for instance in self.instances:
                left, top, right, bottom = instance.box_xyxy
                mask[top:bottom, left:right] |= instance.box_mask
        elif self.is_present:
            # Compared as logits: on a large photo the sigmoid costs more than all the rest.
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
            "mask": self.to_rle(),
            "instances": [
                {"box_xyxy": list(each.box_xyxy), "score": round(each.score, 6), "mask": each.to_rle()}
                for each in self.instances
            ],
        }


@dataclass(frozen=True, eq=False)
class Segmentation(Sequence[QueryResult]):
    """The answers to a request, in its order: a sequence of `QueryResult`.

    Attributes:
        image_rgb: The photo, uint8, shape (H, W, 3), upright.
        results: One for each query.
        model: Name of the model.
        presence_threshold: Below it a thing counts as absent.
        mask_threshold: Probability from which a pixel belongs to a thing.
        fingerprint: Which checkpoint of that model; "" where no model answered.
    """

    image_rgb: NDArray[np.uint8]
    results: tuple[QueryResult, ...]
    model: str
    presence_threshold: float
    mask_threshold: float
    fingerprint: str = ""

    @overload
    def __getitem__(self, index: int) -> QueryResult: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[QueryResult, ...]: ...
    def __getitem__(self, index: int | slice) -> QueryResult | tuple[QueryResult, ...]:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    @property
    def origin(self) -> str:
        """Say who answered, for a data set that is to hold the answers of one: `Predictor.origin` of its model."""
        return name_origin(self.model, self.fingerprint, self.presence_threshold)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the photo, pixels."""
        height, width, _ = self.image_rgb.shape
        return height, width

    def to_dict(self) -> dict[str, Any]:
        """Describe everything but the pixels of the photo in JSON's own types; see `to_json`."""
        return {
            "schema": JSON_SCHEMA,
            "model": self.model,
            "size_hw": list(self.size_hw),
            "presence_threshold": self.presence_threshold,
            "mask_threshold": self.mask_threshold,
            "results": [result.to_dict() for result in self.results],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Describe the results as JSON.

        The object has the keys `schema`, `model`, `size_hw` (height, width), `presence_threshold`, `mask_threshold` and
        `results`, a list in the order of the request. Each result has `label`, `presence`, `is_present`, `mask` and
        `instances`; each instance `box_xyxy` (whole pixels, right and bottom exclusive), `score` and `mask`. A mask is
        COCO's compressed RLE, `{"size": [height, width], "counts": text}`, as pycocotools reads it.

        Args:
            indent: Spaces for each level; None: everything on one line.
        """
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def overlay(self) -> Image.Image:
        """Draw the masks over the photo, each with its label and presence; absent things are not drawn."""
        return draw_overlay(
            self.image_rgb,
            [
                OverlayLayer(result.mask, f"{result.label} {result.presence:.2f}", color_index)
                for color_index, result in enumerate(self.results)
            ],
        )

    def to_supervision(self) -> Any:
        """Give the objects as supervision's `Detections`.

        They come in the order of the request, the best of each query first: xyxy float (N, 4), mask bool (N, H, W),
        confidence, class_id (the query's place in the request) and data["class_name"]; N may be 0.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        found = [(index, each) for index, result in enumerate(self.results) for each in result.instances]
        masks = np.zeros((len(found), *self.size_hw), dtype=np.bool_)
        for mask, (_, instance) in zip(masks, found, strict=True):
            mask[:] = instance.mask
        return require("supervision", extra="supervision").Detections(
            xyxy=np.array([each.box_xyxy for _, each in found], dtype=np.float32).reshape(-1, 4),
            mask=masks,
            confidence=np.array([each.score for _, each in found], dtype=np.float32),
            class_id=np.array([index for index, _ in found], dtype=np.int64),
            data={"class_name": np.array([self.results[index].label for index, _ in found], dtype=np.str_)},
        )

    def save(self, directory: str | Path) -> tuple[Path, ...]:
        """Write `overlay.png`, one mask a query (PNG, 0 and 255) and `result.json`, which says which mask is whose.

        Each file appears whole or not at all; `result.json` comes last. Files of the same names are replaced.

        Args:
            directory: Made where it is missing.

        Returns:
            The files: overlay, masks in the order of the queries, JSON.

        Raises:
            OutputError: Something can't be written; the message names it.
        """
        directory = Path(directory)
        overlay_path = directory / "overlay.png"
        with atomic_file(overlay_path) as path:
            self.overlay().save(path)
        mask_paths = []
        document = self.to_dict()
        for index, result in enumerate(self.results):
            mask_paths.append(directory / f"mask-{index:03d}-{slug(result.label)}.png")
            document["results"][index]["mask_file"] = mask_paths[-1].name
            with atomic_file(mask_paths[-1]) as path:
                Image.fromarray(result.mask.astype(np.uint8) * 255).save(path)
        json_path = directory / "result.json"
        with atomic_file(json_path) as path:
            path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return overlay_path, *mask_paths, json_path


def name_origin(model: str, fingerprint: str, presence_threshold: float) -> str:
    """Name who answers: a model, which checkpoint of it, and from where on it calls a thing present."""
    return f"{f'{model} {fingerprint}'.strip()}, present from {presence_threshold:.6g}"


def slug(label: str) -> str:
    """Turn a label into a part of a file name that is safe everywhere; not unique, the index is."""
    ascii_text = unicodedata.normalize("NFKD", label.replace("'", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")[:40].strip("-") or "query"


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array

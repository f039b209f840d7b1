"""The results of a request: a sequence of `QueryResult`, its conversions and its files."""

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg._extras import require
from promptseg.errors import DataError, ImageError, PromptError, UnknownLabelError
from promptseg.image_files import expand_home
from promptseg.images import LARGEST_LIMITS, ImageSource, find_path, read_image
from promptseg.ops.overlay import DEFAULT_ALPHA, OverlayLayer, draw_overlay
from promptseg.results.query_result import QueryResult
from promptseg.results.saved import (
    JSON_SCHEMA,
    RESULT_FILE,
    parse_results,
    parse_unsure_threshold,
    read_result_file,
    write_result_files,
)

# Longer side of the drawing in a notebook, pixels.
_NOTEBOOK_SIDE = 1024


@dataclass(frozen=True, eq=False)
class Segmentation(Sequence[QueryResult]):
    """The results of a request, in its order: a sequence of `QueryResult` that also takes labels.

    Attributes:
        image_rgb: The image, uint8, shape (H, W, 3), upright.
        results: One for each query.
        model: Name of the model.
        presence_threshold: From this presence on an object counts as present.
        mask_threshold: Probability from which a pixel belongs to an object.
        fingerprint: Identifies the checkpoint of that model; "" if no model made the results.
        source: Path or name of the image; None: unknown.
        unsure_threshold: From this presence on, and below `presence_threshold`, the model is unsure; None: it never is.
    """

    image_rgb: NDArray[np.uint8]
    results: tuple[QueryResult, ...]
    model: str
    presence_threshold: float
    mask_threshold: float
    fingerprint: str = ""
    source: str | None = None
    unsure_threshold: float | None = None

    @overload
    def __getitem__(self, index: int | str) -> QueryResult: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[QueryResult, ...]: ...
    def __getitem__(self, index: int | str | slice) -> QueryResult | tuple[QueryResult, ...]:
        """Return a result by its position or its label; of equal labels the first one, and for a slice a tuple.

        Raises:
            UnknownLabelError: No query has this label; it is a PromptError and a KeyError.
            IndexError: There is no such position.
        """
        if not isinstance(index, str):
            return self.results[index]
        for result in self.results:
            if result.label == index:
                return result
        raise UnknownLabelError(f"no query has the label {index!r}; there are {', '.join(map(repr, self.labels))}")

    def __len__(self) -> int:
        return len(self.results)

    def __contains__(self, item: object) -> bool:
        """Tell whether a label, or a result, is in here."""
        return item in self.labels if isinstance(item, str) else any(item is result for result in self.results)

    def __repr__(self) -> str:
        shown = [f"{result.label!r} {result.presence:.2f}" for result in self.results[:5]]
        more = [f"{len(self) - 5} more"] if len(self) > 5 else []
        return f"<Segmentation by {self.model!r} size_hw={self.size_hw} {', '.join(shown + more)}>"

    def _repr_png_(self) -> bytes:
        drawn = self.overlay()
        drawn.thumbnail((_NOTEBOOK_SIDE, _NOTEBOOK_SIDE))
        encoded = io.BytesIO()
        drawn.save(encoded, format="PNG")
        return encoded.getvalue()

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each result, in order."""
        return tuple(result.label for result in self.results)

    def items(self) -> tuple[tuple[str, QueryResult], ...]:
        """Pair each label with its result, in order; equal labels come as often as they were asked for."""
        return tuple(zip(self.labels, self.results, strict=True))

    def count(self, value: str) -> int:
        """Count the instances of a label; it is `len(segmentation[label].instances)`.

        Raises:
            UnknownLabelError: No query has this label.
            PromptError: It is no label.
        """
        if not isinstance(value, str):
            raise PromptError(f"count takes a label, such as 'cat', not {type(value).__name__}")
        return len(self[value].instances)

    @property
    def origin(self) -> str:
        """Model, checkpoint and threshold of these results, as `Predictor.origin`; a data set has one origin."""
        return name_origin(self.model, self.fingerprint, self.presence_threshold)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image, pixels."""
        height, width, _ = self.image_rgb.shape
        return height, width

    def to_dict(self) -> dict[str, Any]:
        """Describe everything except the pixels of the image in JSON's own types; see `to_json`."""
        return {
            "schema": JSON_SCHEMA,
            "model": self.model,
            "fingerprint": self.fingerprint,
            "size_hw": list(self.size_hw),
            "presence_threshold": self.presence_threshold,
            "unsure_threshold": self.unsure_threshold,
            "mask_threshold": self.mask_threshold,
            "results": [result.to_dict() for result in self.results],
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Describe the results as JSON.

        The object has the keys `schema`, `model`, `fingerprint`, `size_hw` (height, width), `presence_threshold`,
        `unsure_threshold` (or null), `mask_threshold` and `results`, a list in the order of the request. Each result
        has `label`, `presence`, `is_present`, `status` ("present", "unsure" or "absent"), `read_as` (the name that the
        phrase was taken as, or null), `mask` and `instances`; each instance has `box_xyxy` (whole pixels, right and
        bottom exclusive), `score`, `mask` and, if it is known, `mask_quality`. A mask is COCO's compressed RLE,
        `{"size": [height, width], "counts": text}`, as pycocotools reads it.

        Args:
            indent: Spaces for each level; None: everything on one line.
        """
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """Describe the instances as COCO annotations, as `pycocotools.coco.COCO.loadRes` takes them; no unsure ones.

        Args:
            image_id: Id of the image in your data set.

        Returns:
            One annotation for each instance, in the order of the request, the best of each query first:
            `image_id`, `category_id` (1 for the first label, 2 for the next different one, ...), `segmentation`
            (compressed RLE), `bbox` (left, top, width, height), `area`, `score` and `iscrowd` (0).
        """
        category_ids = {label: index for index, label in enumerate(dict.fromkeys(self.labels), start=1)}
        annotations = []
        for _, result in self._present():
            for instance in result.instances:
                left, top, right, bottom = instance.box_xyxy
                annotations.append(
                    {
                        "image_id": image_id,
                        "category_id": category_ids[result.label],
                        "segmentation": instance.to_rle(),
                        "bbox": [left, top, right - left, bottom - top],
                        "area": instance.area,
                        "score": instance.score,
                        "iscrowd": 0,
                    }
                )
        return annotations

    def to_supervision(self) -> Any:
        """Convert the instances to supervision's `Detections`; no unsure ones.

        They come in the order of the request, the best of each query first: xyxy float (N, 4), mask bool (N, H, W),
        confidence, class_id (position of the query in the request) and data["class_name"]; N may be 0.

        Raises:
            MissingExtraError: supervision is not installed.
        """
        found = [(index, each) for index, result in self._present() for each in result.instances]
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

    def inverted(self) -> "Segmentation":
        """Give everything but the object of each query; see `QueryResult.inverted`."""
        return replace(self, results=tuple(result.inverted() for result in self.results))

    def overlay(self, *, alpha: float = DEFAULT_ALPHA, labels: bool = True, boxes: bool = False) -> Image.Image:
        """Draw the masks over the image: unsure ones hatched and with a question mark, absent objects not at all.

        Args:
            alpha: Opacity of the masks, in [0, 1].
            labels: Write label and presence beside each mask.
            boxes: Outline the box of each instance.

        Returns:
            RGB image of the same size.

        Raises:
            PromptError: alpha is not in [0, 1].
        """
        layers = [
            OverlayLayer(
                result.mask,
                _write_caption(result) if labels else "",
                color_index,
                tuple(instance.box_xyxy for instance in result.instances) if boxes else (),
                is_hatched=result.status == "unsure",
            )
            for color_index, result in enumerate(self.results)
        ]
        return draw_overlay(self.image_rgb, layers, alpha=alpha)

    def save(self, directory: str | Path) -> tuple[Path, ...]:
        """Write `overlay.png`, one mask for each query (PNG, 0 and 255) and `result.json`, which lists them.

        `result.json` holds `to_dict`, the name of each mask's file, and `image`: the path or name of the image if it is
        known, its size and a hash of its pixels. Each file appears complete or not at all; `result.json` comes last.
        Files of the same names are replaced, and masks that an earlier result left in this folder are removed.

        Args:
            directory: Created if it is missing; "~" is the home folder.

        Returns:
            The files: overlay, masks in the order of the queries, JSON.

        Raises:
            OutputError: A file can't be written; the message names it.
        """
        image = {"source": self.source, "size_hw": list(self.size_hw), "sha256": _hash_pixels(self.image_rgb)}
        document = {**self.to_dict(), "image": image}
        masks = (result.mask for result in self.results)
        return write_result_files(expand_home(directory), document, masks, self.overlay())

    @classmethod
    def load(cls, directory: str | Path, *, image: ImageSource | None = None) -> "Segmentation":
        """Read what `save` wrote: masks, instances and numbers come back as they were saved.

        Args:
            directory: Of the saved result.
            image: The image that was segmented, as `promptseg.read_image` takes it; None: the file that `result.json`
                names, whose pixels must be the same.

        Raises:
            DataError: `result.json` is missing or malformed, or the image is missing, unknown or another one.
            ImageError: The given image can't be read.
        """
        directory = expand_home(directory)
        path = directory / RESULT_FILE
        document = read_result_file(directory)
        results = parse_results(document, where=str(path))
        stated = document["image"] if isinstance(document.get("image"), dict) else {}
        image_rgb = _find_image(stated, where=str(path)) if image is None else read_image(image, limits=LARGEST_LIMITS)
        if list(image_rgb.shape[:2]) != document["size_hw"]:
            raise DataError(
                f"{path}: is of an image of {document['size_hw']} pixels (H, W), not of {image_rgb.shape[:2]}"
            )
        return cls(
            image_rgb,
            results,
            model=str(document.get("model", "")),
            presence_threshold=float(document["presence_threshold"]),
            mask_threshold=float(document["mask_threshold"]),
            fingerprint=str(document.get("fingerprint", "")),
            source=find_path(image) or (str(stated["source"]) if stated.get("source") else None),
            unsure_threshold=parse_unsure_threshold(document),
        )

    def _present(self) -> Iterator[tuple[int, QueryResult]]:
        """Yield the results of what is present, and their positions."""
        return ((index, result) for index, result in enumerate(self.results) if result.is_present)


def name_origin(model: str, fingerprint: str, presence_threshold: float) -> str:
    """Name the origin of results: a model, its checkpoint, and the presence from which an object counts as present."""
    return f"{f'{model} {fingerprint}'.strip()}, present from {presence_threshold:.6g}"


def _write_caption(result: QueryResult) -> str:
    return f"{result.caption}{'?' if result.status == 'unsure' else ''} {result.presence:.2f}"


def _hash_pixels(image_rgb: NDArray[np.uint8]) -> str:
    return hashlib.sha256(np.ascontiguousarray(image_rgb).data).hexdigest()


def _find_image(stated: dict[str, Any], *, where: str) -> NDArray[np.uint8]:
    """Read the image, uint8, shape (H, W, 3), that a saved result names."""
    source = stated.get("source")
    way_out = "give the image: Segmentation.load(directory, image=...)"
    if not isinstance(source, str):
        raise DataError(f"{where}: does not say which image it is of; {way_out}")
    try:
        image_rgb = read_image(source, limits=LARGEST_LIMITS)
    except ImageError as error:
        raise DataError(f"{where}: its image can't be read ({error}); {way_out}") from error
    if _hash_pixels(image_rgb) != stated.get("sha256"):
        raise DataError(f"{where}: the pixels of {source} are not those that were segmented; {way_out}")
    return image_rgb

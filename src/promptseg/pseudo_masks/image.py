"""Pseudo-masks of one image: one record of the index in, one record with masks out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.data.jsonl import exhaustive_names
from promptseg.data.merge_annotations import box_iou
from promptseg.data.sample import rle_box_xyxy
from promptseg.errors import DataError, ImageError
from promptseg.images import read_image
from promptseg.ops.rle import encode_rle
from promptseg.pseudo_masks.proposals import Proposal, Source, TeacherBox, propose
from promptseg.pseudo_masks.single_object import MIN_AGREEING, find_main_object
from promptseg.sam.base import PromptableSegmenter, SamEmbedding

Reason = Literal["score", "box", "area", "agreement"]

# Least predicted IoU of a mask that is kept. A human box is right; a detector's box may be wrong too, and for a single
# object the score is already multiplied by the agreement of the prompts.
MIN_SCORES: Mapping[Source, float] = {"human-box": 0.7, "region": 0.7, "teacher-box": 0.75, "single-object": 0.8}
MIN_BOX_IOU = 0.5
MIN_AREA = 12
# A mask may exceed its box by this share of the box's sides, and at least by this many pixels: annotators cut tips off.
BOX_MARGIN_SHARE, BOX_MARGIN_PIXELS = 0.05, 2.0


@dataclass(frozen=True)
class CheckedMask:
    """A mask, and whether it is kept.

    Attributes:
        proposal: What was segmented.
        mask: Shape (H, W), bool; None where nothing was found.
        score: Predicted IoU.
        dropped: Reason why the mask is not kept; None: it is kept.
    """

    proposal: Proposal
    mask: NDArray[np.bool_] | None
    score: float
    dropped: Reason | None

    def to_json(self) -> dict[str, Any]:
        """Return the entry for "masks" if the mask is kept, otherwise the entry for "dropped"."""
        entry: dict[str, Any] = {
            "category": self.proposal.category,
            "source": self.proposal.source,
            "score": round(self.score, 3),
        }
        if self.dropped is not None or self.mask is None:
            return entry | {"reason": self.dropped}
        entry["kind"] = "phrase" if self.proposal.source == "region" else "thing"
        entry["names"] = list(self.proposal.names)
        if self.proposal.name_scores:
            entry["name_scores"] = list(self.proposal.name_scores)
        return entry | {"rle": encode_rle(self.mask)}


def mask_record(
    sam: PromptableSegmenter, record: Mapping[str, Any], data_dir: Path, teacher_boxes: Sequence[TeacherBox] = ()
) -> dict[str, Any]:
    """Make the pseudo-masks of one image.

    Args:
        sam: A promptable segmenter.
        record: Record of the index.
        data_dir: Directory that image names are relative to.
        teacher_boxes: A detector's boxes of this image.

    Returns:
        A record in the form of the index: "image", "width", "height", "masks", and "dropped" for masks that are not
        kept; for an image that can't be read, "error" instead of masks.
    """
    try:
        image_rgb = read_image(data_dir / record["image"])
        if image_rgb.shape[:2] != (record["height"], record["width"]):
            actual = f"{image_rgb.shape[1]}x{image_rgb.shape[0]}"
            raise DataError(f"the image is {actual} pixels, its record says {record['width']}x{record['height']}")
    except (ImageError, DataError) as error:
        return error_record(record, str(error))
    checked = _mask_image(sam, record, image_rgb, teacher_boxes)
    return _describe_image(record) | {
        "masks": [one.to_json() for one in checked if one.dropped is None],
        "dropped": [one.to_json() for one in checked if one.dropped is not None],
    }


def error_record(record: Mapping[str, Any], error: str) -> dict[str, Any]:
    """Describe an image that failed, as `mask_record` does."""
    return _describe_image(record) | {"masks": [], "dropped": [], "error": error}


def _describe_image(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"image": record["image"], "width": record["width"], "height": record["height"]}


def _mask_image(
    sam: PromptableSegmenter,
    record: Mapping[str, Any],
    image_rgb: NDArray[np.uint8],
    teacher_boxes: Sequence[TeacherBox],
) -> list[CheckedMask]:
    dataset = Path(record["image"]).parts[0]
    proposals = propose(record, teacher_boxes, exhaustive=exhaustive_names(record, dataset))
    names = (*record.get("tags", ()), *record.get("alt_names", ())) if record.get("single_object") else ()
    if not proposals and not names:
        return []
    embedding = sam.encode(image_rgb)
    checked = _mask_boxes(sam, embedding, proposals) if proposals else []
    if names:
        checked.append(_mask_single_object(sam, embedding, image_rgb, names))
    return checked


def _mask_boxes(sam: PromptableSegmenter, embedding: SamEmbedding, proposals: Sequence[Proposal]) -> list[CheckedMask]:
    boxes_xyxy = np.array([proposal.box_xyxy for proposal in proposals], dtype=np.float32)
    output = sam.segment(embedding, boxes_xyxy=boxes_xyxy)
    masks = output.image_logits()[:, 0] > 0
    scores = output.scores[:, 0].tolist()
    return [check_box_mask(*one) for one in zip(proposals, masks, scores, strict=True)]


def check_box_mask(proposal: Proposal, mask: NDArray[np.bool_], score: float) -> CheckedMask:
    """Cut off the parts of a mask that are far from its box, and decide whether it is kept."""
    mask = mask & _near_box(proposal, mask.shape[:2])
    dropped: Reason | None = None
    if score < MIN_SCORES[proposal.source]:
        dropped = "score"
    elif int(mask.sum()) < MIN_AREA:
        dropped = "area"
    elif box_iou(proposal.box_xyxy, rle_box_xyxy(encode_rle(mask))) < MIN_BOX_IOU:
        dropped = "box"
    return CheckedMask(proposal, mask, score, dropped)


def _near_box(proposal: Proposal, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    x0, y0, x1, y1 = proposal.box_xyxy
    margin_x = max(BOX_MARGIN_SHARE * (x1 - x0), BOX_MARGIN_PIXELS)
    margin_y = max(BOX_MARGIN_SHARE * (y1 - y0), BOX_MARGIN_PIXELS)
    rows, columns = np.ogrid[: size_hw[0], : size_hw[1]]
    in_rows = (rows + 0.5 >= y0 - margin_y) & (rows + 0.5 <= y1 + margin_y)
    in_columns = (columns + 0.5 >= x0 - margin_x) & (columns + 0.5 <= x1 + margin_x)
    near: NDArray[np.bool_] = in_rows & in_columns
    return near


def _mask_single_object(
    sam: PromptableSegmenter, embedding: SamEmbedding, image_rgb: NDArray[np.uint8], names: Sequence[str]
) -> CheckedMask:
    height, width, _ = image_rgb.shape
    proposal = Proposal((0.0, 0.0, float(width), float(height)), names[0], "single-object", tuple(names))
    found = find_main_object(sam, embedding, image_rgb)
    if found is None or found.num_agreeing < MIN_AGREEING:
        return CheckedMask(proposal, None, 0.0 if found is None else found.score, "agreement")
    too_low = found.score < MIN_SCORES["single-object"]
    return CheckedMask(proposal, found.mask, found.score, "score" if too_low else None)

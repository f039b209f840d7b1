"""The single things of an image: what a tower detected of a name, and which one a referring phrase means."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.detectors.box_selection import Boxes, read_detections, select_boxes
from promptseg.language.matching import match_names, same_names
from promptseg.language.referring_parser import Reference, parse_reference
from promptseg.models.promptseg.color_cue import Hsv, to_hsv
from promptseg.models.promptseg.referring_ranking import Scene, asked_names, choose, other_names
from promptseg.ops.components import iterate_components
from promptseg.ops.resize import logit
from promptseg.prompts import Query, TextPrompt
from promptseg.segmenter import Features, Segmenter, read_text

HSV = "hsv"  # among an image's features
# Things of a name are detections that are at least so sure. A phrase may mean doubtful ones too, for how sure they are
# is a cue; where there are none of these, even hints.
MIN_SCORE, MIN_DOUBTFUL_SCORE, MIN_HINT_SCORE = 0.25, 0.1, 0.01
# Detections of what a phrase says make up its mask from here on. Measured on images kept aside from training;
# docs/experiments.md.
MIN_CALLED_SCORE = 0.15
# Without detections the parts of a name's mask are its things, from this share of the largest on.
MIN_PART_SHARE = 0.05


@dataclass(frozen=True)
class Meant:
    """The one thing that a referring phrase means.

    Attributes:
        box_xyxy: In shares of the image's sides.
        presence: Of its name.
        iou: Expected of its name's mask.
    """

    box_xyxy: NDArray[np.float64]
    presence: float
    iou: float


@dataclass(frozen=True)
class Case:
    """All that a referring phrase speaks of in one image.

    Attributes:
        phrase: The whole of it.
        reference: As it is read.
        candidates: Things of its name.
        scene: What is known of them.
        presence: Of its name.
        iou: Expected of its name's mask.
    """

    phrase: str
    reference: Reference
    candidates: Boxes
    scene: Scene
    presence: float
    iou: float


@dataclass(frozen=True)
class Things:
    """What was detected in one image.

    Attributes:
        detections: Shape (K, 4 + V), see `encoders.base.ImageTower.detect`.
        names: V names.
        hsv: The image's colors, or None.
    """

    detections: NDArray[np.float32]
    names: tuple[str, ...]
    hsv: Hsv | None

    @classmethod
    def read(cls, features: Features, names: tuple[str, ...]) -> "Things | None":
        """Read them from an image's features; None where nothing detects, or an older embedding has nothing."""
        detections = read_detections(features) if names else None
        if detections is None:
            return None
        hsv = features[HSV][0].cpu().numpy() if HSV in features else None
        return cls(detections, names, hsv)

    def named(self, phrase: str, *, min_score: float = MIN_SCORE) -> Boxes:
        """Give the things that go by a name; none where the detector does not know it."""
        return select_boxes(self.detections, match_names(phrase, self.names), min_score=min_score)

    def called(self, phrase: str) -> Boxes:
        """Give the things that are called what a phrase says, and are all of it.

        "the cars"; not "red car" and "taxi", which not every car is, nor "vehicle", of which many were not looked for.
        """
        return select_boxes(self.detections, same_names(phrase, self.names), min_score=MIN_CALLED_SCORE)

    def find(self, phrase: str) -> Boxes:
        """Give what may be a thing of that name, in doubt too."""
        return self.named(phrase, min_score=MIN_DOUBTFUL_SCORE) or self.named(phrase, min_score=MIN_HINT_SCORE)


def pack_colors(image_rgb: NDArray[np.uint8]) -> Features:
    """Keep an image's colors, small, with its features."""
    return {HSV: torch.from_numpy(to_hsv(image_rgb).copy())[None]}


def find_meant(
    query: Query, things: Things, segmenter: Segmenter, features: Features, size_hw: tuple[int, int]
) -> Meant | None:
    """Find what a referring phrase means.

    Args:
        query: Any.
        things: Of the image.
        segmenter: Says where the words of the phrase are, all in one call.
        features: Of the image, the segmenter's own.
        size_hw: Of the image, pixels.

    Returns:
        None where the query is no referring phrase, or there is nothing of its name.
    """
    phrase = read_text(query)
    case = None if phrase is None else look_for(phrase, things, segmenter, features, size_hw)
    if case is None or not len(case.candidates):
        return None
    index = choose(case.phrase, case.reference, case.candidates, case.scene)
    return Meant(case.candidates.boxes_xyxy[index], case.presence, case.iou)


def look_for(
    phrase: str, things: Things, segmenter: Segmenter, features: Features, size_hw: tuple[int, int]
) -> Case | None:
    """Look for all that a referring phrase speaks of; arguments as `find_meant`, None for any other phrase."""
    reference = parse_reference(phrase)
    if reference is None:
        return None
    found = {name: things.find(name) for name in asked_names(reference)}
    subject = reference.name or phrase
    unseen = (name for name in other_names(reference) if name and not len(found[name]))
    texts = tuple(dict.fromkeys((phrase, subject, *unseen)))
    said = segmenter.segment(features, [Query(text, (TextPrompt(text),)) for text in texts], size_hw)
    maps = dict(zip(texts, said.mask_logits.float().cpu().numpy(), strict=True))
    row = texts.index(subject)
    candidates = things.find(reference.name) or _parts(said.mask_logits[row], logit(segmenter.mask_threshold))
    scene = Scene(maps, found, size_hw[1] / size_hw[0], things.hsv)
    return Case(phrase, reference, candidates, scene, float(said.presence[row]), float(said.iou[row]))


def _parts(mask_logits: Tensor, edge: float) -> Boxes:
    """Boxes of the connected parts of a map, shape (h, w), at least `edge` inside; their scores are their areas."""
    inside = (mask_logits >= edge).cpu().numpy()
    height, width = inside.shape
    boxes: list[Sequence[float]] = []
    areas: list[float] = []
    for (rows, columns), part in iterate_components(inside, min_share=MIN_PART_SHARE):
        boxes.append((columns.start / width, rows.start / height, columns.stop / width, rows.stop / height))
        areas.append(float(part.sum()) / inside.size)
    return Boxes(np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(areas, dtype=np.float64))

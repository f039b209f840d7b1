"""The panoptic map of an image: a list of classes in, one segment for each pixel out.

A model proposes segments, `results.merging` merges them, and what is left gets a class or none, as the user wants it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from promptseg._value_checks import is_number
from promptseg.errors import CheckpointError, PromptError
from promptseg.language.class_list import NamedClass, parse_class_list
from promptseg.models.segment_proposals import propose_segments
from promptseg.ops.resize import clipped_logit
from promptseg.prompts import Query, TextPrompt
from promptseg.regions import SearchRegion
from promptseg.results.background import is_background
from promptseg.results.filling import DraftMap, fill_with_best, fill_with_class
from promptseg.results.merging import MergeSettings, merge_segments
from promptseg.results.panoptic import UNLABELLED, Panoptic, Unlabelled
from promptseg.results.segment import number_segments
from promptseg.segmenter import EncodedImage, Segmenter, SegmentProposals, SegmentProposer

EVERYDAY_NAMES = "everyday_names.txt"


@dataclass(frozen=True)
class PanopticOptions:
    """What a user may say about a map besides its classes.

    Attributes:
        unlabelled: "keep": pixels of which no class is sure get no segment. "fill": every pixel gets the best class
            that is present.
        min_score: Segments of a lower score are left out, in [0, 1]; None: the model's own minimum.
        min_area: Smaller segments are left out, pixels; None: the model's own minimum.

    Raises:
        PromptError: A value is out of its range.
    """

    unlabelled: Unlabelled = "keep"
    min_score: float | None = None
    min_area: int | None = None

    def __post_init__(self) -> None:
        if self.unlabelled not in UNLABELLED:
            raise PromptError(f"unlabelled is {' or '.join(map(repr, UNLABELLED))}, not {self.unlabelled!r}")
        if self.min_score is not None and not (is_number(self.min_score) and 0.0 <= self.min_score <= 1.0):
            raise PromptError(f"min_score is a probability in [0, 1], not {self.min_score!r}")
        if self.min_area is not None and not (is_number(self.min_area) and self.min_area >= 0):
            raise PromptError(f"min_area is a number of pixels from 0 on, not {self.min_area!r}")

    def apply(self, settings: MergeSettings) -> MergeSettings:
        """Give a model's settings with the values that the user gave."""
        return replace(
            settings,
            min_score=settings.min_score if self.min_score is None else self.min_score,
            min_area=settings.min_area if self.min_area is None else self.min_area,
        )


@dataclass(frozen=True, eq=False)
class ClassedPixels:
    """The segments of an image, before they are described.

    Attributes:
        drafts: The segments, the largest first.
        presence: Of each class.
        presence_threshold: Minimum presence of a class that counts as present.
    """

    drafts: DraftMap
    presence: tuple[float, ...]
    presence_threshold: float


def read_classes(names: Iterable[str | NamedClass] | None, *, stuff: Iterable[str] = ()) -> tuple[NamedClass, ...]:
    """Read the classes of a request.

    Args:
        names: Lines such as "couch, sofa" or "wall [stuff]", or classes that were read before; None: everyday names.
        stuff: Names of those that are stuff.

    Raises:
        PromptError: As `language.class_list.parse_class_list`.
    """
    if names is None or isinstance(names, str):
        return parse_class_list(_everyday_lines() if names is None else names, stuff=stuff)
    given = tuple(names)
    if given and all(isinstance(one, NamedClass) for one in given) and not tuple(stuff):
        return tuple(one for one in given if isinstance(one, NamedClass))
    return parse_class_list((str(one) if isinstance(one, NamedClass) else one for one in given), stuff=stuff)


def propose(
    segmenter: Segmenter[Any], image: EncodedImage, classes: Sequence[NamedClass], *, presence_threshold: float
) -> SegmentProposals:
    """Let a model propose segments of classes that are present, in its own way where it has one."""
    if isinstance(segmenter, SegmentProposer):
        return segmenter.propose_segments(image, classes, presence_threshold=presence_threshold)
    return propose_segments(segmenter, image, classes, presence_threshold=presence_threshold)


def merge_proposals(
    proposals: SegmentProposals, classes: Sequence[NamedClass], size_hw: tuple[int, int], options: PanopticOptions
) -> DraftMap:
    """Merge what a model proposes for some classes.

    Args:
        proposals: For each of the classes.
        classes: C classes.
        size_hw: Height and width of the image, pixels.
        options: What the user wants.

    Returns:
        The segments, the largest first; none is of a class that is absent.
    """
    if options.unlabelled == "keep":
        return merge_segments(proposals.candidates, size_hw, options.apply(proposals.settings))
    settings = options.apply(proposals.settings.for_filling())
    drafts = merge_segments(proposals.candidates, size_hw, settings)
    scores = _score_classes(proposals, settings.min_score)
    biases = {index: settings.presence_weight * clipped_logit(float(proposals.presence[index])) for index in scores}
    things = [one.is_thing for one in classes]
    return fill_with_best(drafts, proposals.class_logits, things, scores, biases).sort()


def _score_classes(proposals: SegmentProposals, min_score: float) -> dict[int, float]:
    """Score the classes that may fill pixels: by their best candidates, or, where there is none at all, by presence."""
    scores: dict[int, float] = {}
    for candidate in proposals.candidates:
        scores[candidate.class_index] = max(scores.get(candidate.class_index, 0.0), candidate.score)
    if not scores:
        return {index: float(proposals.presence[index]) for index in proposals.present}
    least = min(min_score, max(scores.values()))
    return {index: score for index, score in scores.items() if score >= least}


def segment_pixels(
    segmenter: Segmenter[Any],
    image: EncodedImage,
    classes: Sequence[NamedClass],
    options: PanopticOptions,
    *,
    presence_threshold: float,
) -> ClassedPixels:
    """Segment an encoded image by classes.

    A class called "background" takes all that the others leave.

    Args:
        segmenter: A model that takes phrases.
        image: Result of its `encode_image`.
        classes: C classes.
        options: What the user wants.
        presence_threshold: Minimum presence of a class that counts as present.

    Raises:
        PromptError: There is no class besides the background.
        CheckpointError: The model's numbers are not finite.
    """
    asked = [index for index, one in enumerate(classes) if not _is_background(one)]
    if not asked:
        raise PromptError(f"{classes[0].label!r} means everything but the other classes, and there is no other")
    named = [classes[index] for index in asked]
    proposals = propose(segmenter, image, named, presence_threshold=presence_threshold)
    if not (np.isfinite(proposals.class_logits).all() and np.isfinite(proposals.presence).all()):
        raise CheckpointError("the model computed numbers that are not finite: its weights are damaged")
    found = merge_proposals(proposals, named, image.size_hw, options)
    drafts = DraftMap(
        found.segment_ids, tuple(replace(one, class_index=asked[one.class_index]) for one in found.segments)
    )
    presence = np.zeros(len(classes), dtype=np.float64)
    presence[asked] = proposals.presence
    for index in set(range(len(classes))) - set(asked):
        rest = drafts.segment_ids == 0
        presence[index] = float(rest.any())
        if rest.any():
            drafts = fill_with_class(drafts, index, rest, is_thing=False, score=1.0).sort()
    return ClassedPixels(drafts, tuple(presence.tolist()), presence_threshold)


def place_pixels(pixels: ClassedPixels, region: SearchRegion) -> ClassedPixels:
    """Bring the segments of a region into its image; a class that lies outside the region's mask is absent."""
    drafts = DraftMap(region.place_ids(pixels.drafts.segment_ids), pixels.drafts.segments).sort()
    lost = {one.class_index for one in pixels.drafts.segments} - {one.class_index for one in drafts.segments}
    presence = tuple(0.0 if index in lost else value for index, value in enumerate(pixels.presence))
    return replace(pixels, drafts=drafts, presence=presence)


def describe_pixels(
    pixels: ClassedPixels,
    classes: tuple[NamedClass, ...],
    image_rgb: NDArray[np.uint8],
    *,
    options: PanopticOptions,
    model: str,
    fingerprint: str,
    source: str | None,
    region: SearchRegion | None = None,
) -> Panoptic:
    """Describe the segments of an image.

    Args:
        pixels: The segments: of the image, or of a region of it.
        classes: The classes.
        image_rgb: The image, uint8, shape (H, W, 3).
        options: What the user wanted.
        model: As the field of `Panoptic`.
        fingerprint: Likewise.
        source: Likewise.
        region: Where was looked; None: everywhere.
    """
    if region is not None:
        pixels = place_pixels(pixels, region)
    segment_ids = pixels.drafts.segment_ids
    segment_ids.flags.writeable = False
    named = [(classes[one.class_index].label, one.is_thing, one.score) for one in pixels.drafts.segments]
    return Panoptic(
        image_rgb=image_rgb,
        segment_ids=segment_ids,
        segments=number_segments(segment_ids, named),
        classes=classes,
        presence=pixels.presence,
        presence_threshold=pixels.presence_threshold,
        unlabelled=options.unlabelled,
        model=model,
        fingerprint=fingerprint,
        source=source,
        min_score=options.min_score,
        min_area=options.min_area,
        within=None if region is None else region.to_rle(),
    )


def _is_background(one: NamedClass) -> bool:
    return any(is_background(Query(phrase, (TextPrompt(phrase),))) for phrase in one.phrases)


def _everyday_lines() -> list[str]:
    text = resources.files("promptseg.language").joinpath(EVERYDAY_NAMES).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]

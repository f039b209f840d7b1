"""Merge the annotations of one image into one Target per phrase.

Human masks take precedence over human boxes, and human boxes over pseudo-masks. A box without a mask becomes void, so
that a phrase is never trained as absent where a person annotated it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from promptseg.data.sample import Box, Kind, Target, encode_box, rle_box_xyxy
from promptseg.language.phrases import canonical, find_missing, is_ruled_out, normalize_phrase
from promptseg.ops.rle import Rle

# Boxes of good masks of the same object overlap by more than this; neighbors in a crowd seldom do.
SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True)
class _PseudoMask:
    rle: Rle
    box_xyxy: Box
    source: str
    score: float
    names: frozenset[str]


@dataclass
class _TargetBuilder:
    phrase: str
    kind: Kind
    masks: list[Rle] = field(default_factory=list)
    boxes_xyxy: list[Box] = field(default_factory=list)
    void: list[Rle] = field(default_factory=list)
    alternatives: dict[str, None] = field(default_factory=dict)
    pseudo_masks: list[_PseudoMask] = field(default_factory=list)

    def add_pseudo_mask(self, mask: _PseudoMask) -> None:
        """Add a pseudo-mask; of two masks of one object from different processes, keep that with the higher score."""
        for index, known in enumerate(self.pseudo_masks):
            if known.source != mask.source and box_iou(known.box_xyxy, mask.box_xyxy) >= SAME_OBJECT_IOU:
                self.pseudo_masks[index] = max(known, mask, key=lambda one: one.score)
                return
        self.pseudo_masks.append(mask)

    def to_target(self, size_hw: tuple[int, int]) -> Target:
        masks = self.masks or [mask.rle for mask in self.pseudo_masks]
        mask_boxes = [rle_box_xyxy(rle) for rle in masks]
        unmasked = [box for box in self.boxes_xyxy if masks and not _any_match(box, mask_boxes)]
        # An alternative name of pseudo-masks holds only if every instance has it.
        common_names = (
            frozenset.intersection(*(mask.names for mask in self.pseudo_masks)) if self.pseudo_masks else frozenset()
        )
        alternatives = dict.fromkeys((*self.alternatives, *sorted(common_names)))
        return Target(
            phrase=self.phrase,
            kind=self.kind,
            masks=tuple(masks),
            boxes_xyxy=() if masks else tuple(self.boxes_xyxy),
            void=(*self.void, *(encode_box(box, size_hw) for box in unmasked)),
            alternatives=tuple(name for name in alternatives if name != self.phrase),
            source=self.pseudo_masks[0].source if self.pseudo_masks else "human",
            score=sum(mask.score for mask in self.pseudo_masks) / len(self.pseudo_masks) if self.pseudo_masks else 1.0,
        )


class TargetAssembler:
    """Collects the annotations of one image: add human ones first, then pseudo-masks, then call `targets`."""

    def __init__(self, size_hw: tuple[int, int], exhaustive: Iterable[str] = ()) -> None:
        self._size_hw = size_hw
        self._exhaustive = frozenset(exhaustive)
        self._builders: dict[str, _TargetBuilder] = {}
        self._aliases: dict[str, str] = {}

    def add_mask(self, name: str, rle: Rle, *, kind: Kind = "thing", crowd: bool = False) -> None:
        """Add a human mask of one instance; the mask of a crowd is void, not an instance."""
        builder = self._builder(name, kind)
        (builder.void if crowd else builder.masks).append(rle)

    def add_void(self, name: str, rle: Rle) -> None:
        """Mark a region where it is unknown whether a name, which was added before, applies."""
        self._builder(name, "thing").void.append(rle)

    def add_box(self, name: str, box_xyxy: Box, *, kind: Kind = "thing") -> None:
        """Add a human box of one instance."""
        self._builder(name, kind).boxes_xyxy.append(box_xyxy)

    def add_tag(self, name: str) -> None:
        """Add a name that is present at an unknown position in the image."""
        self._builder(name, "thing")

    def add_wordings(self, name: str, wordings: Iterable[str]) -> None:
        """Add alternative names of the object that was added under a name."""
        for wording in wordings:
            self._builders[self._key(name)].alternatives[normalize_phrase(wording)] = None
            self._aliases.setdefault(canonical(wording), self._key(name))

    def add_pseudo_mask(
        self, name: str, rle: Rle, *, kind: Kind, source: str, score: float, alternatives: Sequence[str] = ()
    ) -> bool:
        """Add a pseudo-mask; return whether it was accepted.

        It is rejected if the name has human masks, if the name has human boxes and none matches, and if the name is
        known to be absent from the image.
        """
        box_xyxy = rle_box_xyxy(rle)
        builder = self._builders.get(self._key(name))
        if builder is None and is_ruled_out(name, *self._absent_and_present):
            return False
        if builder is not None and (
            builder.masks or (builder.boxes_xyxy and not _any_match(box_xyxy, builder.boxes_xyxy))
        ):
            return False
        names = frozenset(normalize_phrase(alternative) for alternative in alternatives)
        self._builder(name, kind).add_pseudo_mask(_PseudoMask(rle, box_xyxy, source, score, names))
        return True

    def targets(self) -> tuple[Target, ...]:
        """Return one target per phrase, in the order in which they were first added."""
        return tuple(builder.to_target(self._size_hw) for builder in self._builders.values())

    @cached_property
    def _absent_and_present(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """The names that human annotations exclude, and those they contain; complete before the first pseudo-mask."""
        builders = (builder for builder in self._builders.values() if builder.kind != "phrase")
        present = tuple(builder.phrase for builder in builders)
        return find_missing(self._exhaustive, present), present

    def _key(self, name: str) -> str:
        key = canonical(name)
        return key if key in self._builders else self._aliases.get(key, key)

    def _builder(self, name: str, kind: Kind) -> _TargetBuilder:
        phrase = normalize_phrase(name)
        builder = self._builders.setdefault(self._key(name), _TargetBuilder(phrase, kind))
        builder.alternatives[phrase] = None  # "cell phone" and "mobile phone" in one image are one target
        return builder


def box_iou(a_xyxy: Box, b_xyxy: Box) -> float:
    """Return the intersection over union of two boxes, pixels; 0 if both are empty."""
    width = min(a_xyxy[2], b_xyxy[2]) - max(a_xyxy[0], b_xyxy[0])
    height = min(a_xyxy[3], b_xyxy[3]) - max(a_xyxy[1], b_xyxy[1])
    intersection = max(width, 0.0) * max(height, 0.0)
    union = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a_xyxy, b_xyxy)) - intersection
    return intersection / union if union > 0 else 0.0


def _any_match(box_xyxy: Box, others_xyxy: Iterable[Box]) -> bool:
    return any(box_iou(box_xyxy, other) >= SAME_OBJECT_IOU for other in others_xyxy)

"""From loose annotations of one image to one Target per phrase.

People's masks win over people's boxes, those over made masks. A box whose mask is missing becomes void, so that a
phrase is never taught to be absent where somebody saw it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from promptseg.data.sample import Box, Kind, Target, encode_box, rle_box_xyxy
from promptseg.language.phrases import canonical, find_missing, is_ruled_out, normalize_phrase
from promptseg.ops.rle import Rle

# Boxes around good masks of the same object overlap by more than this; neighbors in a crowd seldom do.
SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True)
class _MadeMask:
    rle: Rle
    box_xyxy: Box
    source: str
    score: float
    names: frozenset[str]


@dataclass
class _Draft:
    phrase: str
    kind: Kind
    masks: list[Rle] = field(default_factory=list)
    boxes_xyxy: list[Box] = field(default_factory=list)
    void: list[Rle] = field(default_factory=list)
    alternatives: dict[str, None] = field(default_factory=dict)
    made: list[_MadeMask] = field(default_factory=list)

    def add_made(self, mask: _MadeMask) -> None:
        """Add a mask, unless another process made one of the same object: then the surer of the two stays."""
        for index, known in enumerate(self.made):
            if known.source != mask.source and box_iou(known.box_xyxy, mask.box_xyxy) >= SAME_OBJECT_IOU:
                self.made[index] = max(known, mask, key=lambda one: one.score)
                return
        self.made.append(mask)

    def to_target(self, size_hw: tuple[int, int]) -> Target:
        masks = self.masks or [mask.rle for mask in self.made]
        mask_boxes = [rle_box_xyxy(rle) for rle in masks]
        unmasked = [box for box in self.boxes_xyxy if masks and not _any_match(box, mask_boxes)]
        # Another name that a process gives counts only where it gives it to every instance.
        made_names = frozenset.intersection(*(mask.names for mask in self.made)) if self.made else frozenset()
        alternatives = dict.fromkeys((*self.alternatives, *sorted(made_names)))
        return Target(
            phrase=self.phrase,
            kind=self.kind,
            masks=tuple(masks),
            boxes_xyxy=() if masks else tuple(self.boxes_xyxy),
            void=(*self.void, *(encode_box(box, size_hw) for box in unmasked)),
            alternatives=tuple(name for name in alternatives if name != self.phrase),
            source=self.made[0].source if self.made else "human",
            score=sum(mask.score for mask in self.made) / len(self.made) if self.made else 1.0,
        )


class TargetAssembler:
    """Collects the annotations of one image; add people's first, then made masks, then call `targets`."""

    def __init__(self, size_hw: tuple[int, int], exhaustive: Iterable[str] = ()) -> None:
        self._size_hw = size_hw
        self._exhaustive = frozenset(exhaustive)
        self._drafts: dict[str, _Draft] = {}
        self._aliases: dict[str, str] = {}

    def add_mask(self, name: str, rle: Rle, *, kind: Kind = "thing", crowd: bool = False) -> None:
        """Add a person's mask of one instance; a crowd's mask is void, not an instance."""
        draft = self._draft(name, kind)
        (draft.void if crowd else draft.masks).append(rle)

    def add_void(self, name: str, rle: Rle) -> None:
        """Mark a region where a name added before may or may not hold."""
        self._draft(name, "thing").void.append(rle)

    def add_box(self, name: str, box_xyxy: Box, *, kind: Kind = "thing") -> None:
        """Add a person's box of one instance."""
        self._draft(name, kind).boxes_xyxy.append(box_xyxy)

    def add_tag(self, name: str) -> None:
        """Say that a name is somewhere in the image."""
        self._draft(name, "thing")

    def add_wordings(self, name: str, wordings: Iterable[str]) -> None:
        """Say what else the very object may be called that was added under a name."""
        for wording in wordings:
            self._drafts[self._key(name)].alternatives[normalize_phrase(wording)] = None
            self._aliases.setdefault(canonical(wording), self._key(name))

    def add_made_mask(
        self, name: str, rle: Rle, *, kind: Kind, source: str, score: float, alternatives: Sequence[str] = ()
    ) -> bool:
        """Add a mask that a process made; say whether it was taken.

        It is refused where a person drew masks of that name, where no box of a person agrees with it, and where the
        name is known not to be in the image.
        """
        box_xyxy = rle_box_xyxy(rle)
        draft = self._drafts.get(self._key(name))
        if draft is None and is_ruled_out(name, *self._said):
            return False
        if draft is not None and (draft.masks or (draft.boxes_xyxy and not _any_match(box_xyxy, draft.boxes_xyxy))):
            return False
        names = frozenset(normalize_phrase(alternative) for alternative in alternatives)
        self._draft(name, kind).add_made(_MadeMask(rle, box_xyxy, source, score, names))
        return True

    def targets(self) -> tuple[Target, ...]:
        """Return one target per phrase, in the order in which they were first added."""
        return tuple(draft.to_target(self._size_hw) for draft in self._drafts.values())

    @cached_property
    def _said(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """What people say is missing, and what is present; they have said all when the first made mask comes."""
        drafts = (draft for draft in self._drafts.values() if draft.kind != "phrase")
        present = tuple(draft.phrase for draft in drafts)
        return find_missing(self._exhaustive, present), present

    def _key(self, name: str) -> str:
        key = canonical(name)
        return key if key in self._drafts else self._aliases.get(key, key)

    def _draft(self, name: str, kind: Kind) -> _Draft:
        phrase = normalize_phrase(name)
        draft = self._drafts.setdefault(self._key(name), _Draft(phrase, kind))
        draft.alternatives[phrase] = None  # "cell phone" and "mobile phone" in one image are one target
        return draft


def box_iou(a_xyxy: Box, b_xyxy: Box) -> float:
    """Intersection over union of two boxes, pixels; 0 where both are empty."""
    width = min(a_xyxy[2], b_xyxy[2]) - max(a_xyxy[0], b_xyxy[0])
    height = min(a_xyxy[3], b_xyxy[3]) - max(a_xyxy[1], b_xyxy[1])
    intersection = max(width, 0.0) * max(height, 0.0)
    union = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a_xyxy, b_xyxy)) - intersection
    return intersection / union if union > 0 else 0.0


def _any_match(box_xyxy: Box, others_xyxy: Iterable[Box]) -> bool:
    return any(box_iou(box_xyxy, other) >= SAME_OBJECT_IOU for other in others_xyxy)

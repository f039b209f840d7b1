"""Pairs of an image and a name, with the evidence for presence: with the name known to the model, and with it hidden.

Hidden is the cluster of the name (`lab.name_clusters`): it is neither a trained name nor a class of the detector, so
it leans on a hypernym. The weights of the network have seen the name and, except in images that were kept aside, the
image: hidden names are easier here than names that are new.
"""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lab.name_clusters import HiddenNames
from promptseg.data.negatives import absent_names, present_names
from promptseg.data.sample import Sample, Target, encode_box, target_mask, union_mask
from promptseg.images import read_image
from promptseg.language.hypernyms import load_nouns
from promptseg.language.phrases import canonical, related
from promptseg.language.reading import PhraseReader
from promptseg.models.promptseg.coarse import CoarseAnswer, CoarseImage, CoarseSegmenter
from promptseg.models.promptseg.presence import PresenceEvidence
from promptseg.ops.masks import mask_iou
from promptseg.ops.resize import area_shares, sigmoid
from promptseg.prompts import TextPrompt

PairSource = Literal["annotated", "single object", "another kind", "detector"]
"""How it is known whether the name is there: people annotated it; the image shows one object of another name, drawn at
random or near it in WordNet; an open-vocabulary detector found it, or none of all names."""

NUM_ABSENT, NUM_ABSENT_KEPT_ASIDE = 6, 12  # drawn per image
NUM_OF_ANOTHER_KIND = 3
MAX_STEPS_TO_SIBLING = 2
MIN_TEACHER_SCORE = 0.4


@dataclass(frozen=True)
class View:
    """What the model says of a pair.

    Attributes:
        evidence: Evidence for presence.
        is_trained: Whether the name leans on no hypernym.
        iou: IoU of the coarse map with the annotation; nan: unknown.
    """

    evidence: PresenceEvidence
    is_trained: bool
    iou: float


@dataclass(frozen=True)
class EvidencePair:
    """One pair.

    Attributes:
        sample_id: The image.
        name: The name.
        fold: The fold of its cluster; None: the model was not trained on it anyway.
        is_present: Whether the image shows it.
        source: How that is known.
        is_kept_aside: Whether the image was kept out of training.
        known: With the name known.
        hidden: With its fold hidden.
    """

    sample_id: str
    name: str
    fold: int | None
    is_present: bool
    source: PairSource
    is_kept_aside: bool
    known: View
    hidden: View


@dataclass(frozen=True)
class NamedTarget:
    """A name to ask an image for; `target` if people annotated it there."""

    name: str
    is_present: bool
    source: PairSource
    target: Target | None = None


@dataclass(frozen=True)
class NameDrawer:
    """Draws the names that images are asked for.

    Attributes:
        vocabulary: Canonical names to draw absent ones from.
        teacher: Names that the detector found in an image, with their best scores.
        kept_aside: Images that training left out.
        seed: Seed of the draws; each image has its own generator.
    """

    vocabulary: tuple[str, ...]
    teacher: Mapping[str, Mapping[str, float]]
    kept_aside: frozenset[str]
    seed: int = 0

    def draw(self, sample: Sample) -> Iterator[NamedTarget]:
        """Yield the names that are there, and some that are not."""
        rng = np.random.default_rng([self.seed, *sample.sample_id.encode()])
        targets = [target for target in sample.targets if target.kind != "phrase"]
        there = present_names(sample) | {canonical(target.phrase) for target in targets}
        for target in targets:
            yield NamedTarget(target.phrase, True, "annotated", target)
        if sample.exhaustive:
            missing = absent_names(sample, sorted({*self.vocabulary, *sample.exhaustive}))
            count = NUM_ABSENT_KEPT_ASIDE if sample.sample_id in self.kept_aside else NUM_ABSENT
            yield from (NamedTarget(name, False, "annotated") for name in _choose(missing, count, rng))
        elif len(targets) == 1:
            drawn = _choose(self.vocabulary, NUM_ABSENT, rng)
            yield from (NamedTarget(name, False, "single object") for name in drawn if _rules_out(there, name))
            siblings = _choose(self._siblings(canonical(targets[0].phrase)), NUM_OF_ANOTHER_KIND, rng)
            yield from (NamedTarget(name, False, "another kind") for name in siblings if _rules_out(there, name))
        if sample.sample_id in self.teacher:
            yield from self._ask_teacher(sample, there, rng)

    def _ask_teacher(self, sample: Sample, there: Iterable[str], rng: np.random.Generator) -> Iterator[NamedTarget]:
        complete = {canonical(name) for name in sample.exhaustive}
        found = self.teacher[sample.sample_id]
        for name, score in found.items():
            if score >= MIN_TEACHER_SCORE and canonical(name) not in complete and _rules_out(there, name):
                yield NamedTarget(name, True, "detector")
        for name in _choose(self.vocabulary, NUM_ABSENT, rng):
            if name not in complete and _rules_out({*there, *found}, name):
                yield NamedTarget(name, False, "detector")

    def _siblings(self, name: str) -> list[str]:
        nouns = load_nouns()
        if name not in nouns.meaning_of:
            return []
        above = _near(nouns.meaning_of[name])
        return [
            other for other in self.vocabulary if other != name and above & self._near_above.get(other, frozenset())
        ]

    @cached_property
    def _near_above(self) -> dict[str, frozenset[int]]:
        meaning_of = load_nouns().meaning_of
        return {name: _near(meaning_of[name]) for name in self.vocabulary if name in meaning_of}


@dataclass(frozen=True, eq=False)
class PairCollector:
    """Asks a model for the evidence.

    Attributes:
        coarse: The model without SAM.
        hidden: Folds of names.
        cache: Encoded images are kept in this folder.
    """

    coarse: CoarseSegmenter
    hidden: HiddenNames
    cache: Path

    def collect(self, sample: Sample, names: Sequence[NamedTarget], *, is_kept_aside: bool) -> list[EvidencePair]:
        """Ask for each name twice."""
        if not names:
            return []
        image = self.encode(sample)
        folds = [self.hidden.fold_of.get(canonical(one.name)) for one in names]
        views = []
        for readers in ([self.coarse.reader] * len(names), [self._readers[fold] for fold in folds]):
            readings = {one.name: reader.read(one.name) for one, reader in zip(names, readers, strict=True)}
            answers = self.coarse.segment(image, [(TextPrompt(one.name),) for one in names], readings)
            views.append(
                [
                    View(answer.evidence, readings[one.name].hypernym is None, self._iou(sample, one.target, answer))
                    for one, answer in zip(names, answers, strict=True)
                ]
            )
        return [
            EvidencePair(
                sample.sample_id, one.name, fold, one.is_present, one.source, is_kept_aside, known=known, hidden=hidden
            )
            for one, fold, known, hidden in zip(names, folds, *views, strict=True)
        ]

    def encode(self, sample: Sample) -> CoarseImage:
        """Encode an image, or read it from the cache."""
        path = self.cache / f"{sample.sample_id.replace('/', '__')}.npz"
        if not path.exists():
            arrays: dict[str, Any] = {
                name: array.astype(np.float16)
                for name, array in self.coarse.encode(read_image(sample.image)).to_arrays().items()
            }
            self.cache.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial.npz")
            np.savez(partial, **arrays)
            partial.replace(path)
        with np.load(path) as stored:
            return CoarseImage.from_arrays({name: stored[name].astype(np.float32) for name in stored.files})

    @cached_property
    def _readers(self) -> dict[int | None, PhraseReader]:
        reader = self.coarse.reader
        return {None: reader} | {fold: self.hidden.hide(fold, reader) for fold in range(len(self.hidden.folds))}

    def _iou(self, sample: Sample, target: Target | None, answer: CoarseAnswer) -> float:
        if target is None or target.evidence == "tag":
            return float("nan")
        if target.masks:
            truth = target_mask(target, sample.size_hw)
        else:
            truth = union_mask(tuple(encode_box(box, sample.size_hw) for box in target.boxes_xyxy), sample.size_hw)
        height, width = answer.mask_logits.shape
        inside = sigmoid(answer.mask_logits) >= self.coarse.config.mask_threshold
        return mask_iou(inside, area_shares(truth, (height, width)) > 0.5)


def read_teacher(path: Path) -> dict[str, dict[str, float]]:
    """Read the best score of each name that the detector found in each image."""
    found: dict[str, dict[str, float]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for record in map(json.loads, lines):
            best = found.setdefault(record["image"], defaultdict(float))
            for *_, score, name in record["boxes"]:
                best[name] = max(best[name], score)
    return found


def list_vocabulary(samples: Iterable[Sample]) -> tuple[str, ...]:
    """List every annotated name, canonical, without referring phrases."""
    return tuple(sorted({canonical(one.phrase) for each in samples for one in each.targets if one.kind != "phrase"}))


def _choose(names: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    return [names[index] for index in rng.permutation(len(names))[:count]]


def _rules_out(there: Iterable[str], name: str) -> bool:
    """Whether a name means nothing that any of the names that are there may mean, by the taxonomy and by WordNet."""
    return not any(related(name, other) or _is_kind(name, other) or _is_kind(other, name) for other in there)


def _is_kind(name: str, other: str) -> bool:
    nouns = load_nouns()
    row, its = nouns.meaning_of.get(canonical(name)), nouns.meaning_of.get(canonical(other))
    return row is not None and its is not None and (row == its or its in nouns.above(row))


def _near(row: int) -> frozenset[int]:
    nouns = load_nouns()
    level, found = {row}, set()
    for _ in range(MAX_STEPS_TO_SIBLING):
        level = {above for one in level for above in nouns.parents[one]}
        found |= level
    return frozenset(found)

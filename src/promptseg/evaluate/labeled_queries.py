"""Queries with their ground truth: an annotated sample turned into phrases with masks.

A phrase with a mask is a present query. A phrase that is known not to be in the image is an absent query. A phrase
whose place is known only by a box or a tag makes no query: a filled box is no ground truth for a mask.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promptseg.data.sample import Kind, Mask, Sample, ignore_mask, target_mask, union_mask
from promptseg.language.lists import find_list
from promptseg.prompts import ExemplarPrompt, Query, QueryLike, TextPrompt


@dataclass(frozen=True, eq=False)
class LabeledQuery:
    """One phrase for one image, with the ground truth.

    Attributes:
        phrase: The phrase.
        kind: What sort of phrase; None for an absent one.
        truth: Where the phrase holds, bool (H, W); empty for an absent phrase.
        valid: Pixels whose ground truth is known, bool (H, W).
        source: Who drew the ground truth: "human", "box" for a filled box, or the process that made it; None for an
            absent phrase.
        prompt: The prompt that stands for the phrase; None: the phrase itself.
    """

    phrase: str
    kind: Kind | None
    truth: Mask
    valid: Mask
    source: str | None = None
    prompt: TextPrompt | ExemplarPrompt | None = None

    @property
    def present(self) -> bool:
        """Whether the phrase holds anywhere."""
        return bool((self.truth & self.valid).any())

    @property
    def request(self) -> QueryLike:
        """The model's input."""
        if self.prompt is not None:
            return Query(self.phrase, (self.prompt,))
        # A phrase of a data set is asked as it stands, also where a request would refuse it as a list of names.
        return TextPrompt(self.phrase) if find_list(self.phrase) else self.phrase


def build_labeled_queries(sample: Sample, *, class_names: Sequence[str] = ()) -> tuple[LabeledQuery, ...]:
    """Turn a sample into the queries that can be scored.

    Args:
        sample: An annotated image.
        class_names: Names that together label every pixel: each is a query for every image, in this order, and pixels
            of none of them are ignored. Empty: the sample's own targets, then its absent phrases.

    Returns:
        One query per phrase. A target that lies wholly in ignored regions is left out.

    Raises:
        DataError: A mask is malformed or of another size.
    """
    nothing = np.zeros(sample.size_hw, dtype=bool)
    if class_names:
        located = {target.phrase: target for target in sample.with_evidence("mask")}
        truths = {phrase: target_mask(target, sample.size_hw) for phrase, target in located.items()}
        void = union_mask([rle for target in sample.targets for rle in target.void], sample.size_hw)
        labeled = np.any([truths.get(name, nothing) for name in class_names], axis=0) & ~void
        return tuple(
            LabeledQuery(name, located[name].kind, truths[name], labeled, located[name].source)
            if name in located
            else LabeledQuery(name, None, nothing, labeled)
            for name in class_names
        )
    present = (
        LabeledQuery(
            phrase=target.phrase,
            kind=target.kind,
            truth=target_mask(target, sample.size_hw),
            valid=~ignore_mask(target, sample.size_hw),
            source=target.source,
        )
        for target in sample.with_evidence("mask")
    )
    everywhere = ~nothing
    absent = (LabeledQuery(phrase, None, nothing, everywhere) for phrase in sample.absent)
    return (*(query for query in present if query.present), *absent)


def digest_queries(image: Path | bytes, queries: Sequence[LabeledQuery]) -> str:
    """Hash an image's bytes, the phrases, prompts and ground truths: equal digests mean equal queries."""
    digest = hashlib.sha256(image.read_bytes() if isinstance(image, Path) else image)
    for query in queries:
        digest.update(f"\0{query.phrase}\0{query.kind}\0".encode())
        match query.prompt:
            case TextPrompt(text=text):
                digest.update(f"{text}\0".encode())
            case ExemplarPrompt(image_rgb=image_rgb, mask=mask):
                digest.update(image_rgb.tobytes())
                digest.update(b"" if mask is None else np.packbits(mask).tobytes())
        digest.update(np.packbits(query.truth).tobytes())
        digest.update(np.packbits(query.valid).tobytes())
    return digest.hexdigest()

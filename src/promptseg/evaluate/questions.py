"""What is asked of a picture, and the true answers: an annotated sample turned into phrases with masks.

A phrase with a mask is a present question, one that is known not to be in the picture an absent one. A phrase whose
place is not known to the pixel (a box, a tag) is not asked: a filled box is no truth for a mask.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promptseg.data.sample import Kind, Mask, Sample, ignore_mask, target_mask, union_mask


@dataclass(frozen=True, eq=False)
class Question:
    """One phrase asked of one picture, with the true answer.

    Attributes:
        phrase: What is asked.
        kind: What sort of phrase; None for an absent one.
        truth: Where the phrase holds, bool (H, W); empty for an absent phrase.
        valid: Pixels where the answer is known, bool (H, W).
        source: Who drew the truth: "human", "box" for a filled box, or the process that made it; None for an absent
            phrase.
    """

    phrase: str
    kind: Kind | None
    truth: Mask
    valid: Mask
    source: str | None = None

    @property
    def present(self) -> bool:
        """Whether the phrase holds anywhere."""
        return bool((self.truth & self.valid).any())


def build_questions(sample: Sample, *, class_names: Sequence[str] = ()) -> tuple[Question, ...]:
    """Turn a sample into the questions that can be judged.

    Args:
        sample: An annotated picture.
        class_names: Names that together label every pixel: each is asked of every picture, in this order, and pixels of
            none of them are ignored. Empty: the sample's own targets, then its absent phrases.

    Returns:
        One question per phrase. A target that lies wholly in ignored regions is left out.

    Raises:
        DataError: A mask is malformed or of another size.
    """
    located = {target.phrase: target for target in sample.with_evidence("mask")}
    truths = {phrase: target_mask(target, sample.size_hw) for phrase, target in located.items()}
    nothing = np.zeros(sample.size_hw, dtype=bool)
    if class_names:
        void = union_mask([rle for target in sample.targets for rle in target.void], sample.size_hw)
        labelled = np.any([truths.get(name, nothing) for name in class_names], axis=0) & ~void
        return tuple(
            Question(name, located[name].kind, truths[name], labelled, located[name].source)
            if name in located
            else Question(name, None, nothing, labelled)
            for name in class_names
        )
    present = (
        Question(phrase, target.kind, truths[phrase], ~ignore_mask(target, sample.size_hw), target.source)
        for phrase, target in located.items()
    )
    everywhere = ~nothing
    absent = (Question(phrase, None, nothing, everywhere) for phrase in sample.absent)
    return (*(question for question in present if question.present), *absent)


def digest_questions(sample: Sample, questions: Sequence[Question]) -> str:
    """Hash a picture's bytes, the phrases and the truths: equal digests mean that the same was asked."""
    digest = hashlib.sha256(sample.image.read_bytes() if isinstance(sample.image, Path) else sample.image)
    for question in questions:
        digest.update(f"\0{question.phrase}\0{question.kind}\0".encode())
        digest.update(np.packbits(question.truth).tobytes())
        digest.update(np.packbits(question.valid).tobytes())
    return digest.hexdigest()

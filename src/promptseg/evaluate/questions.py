"""What is asked of an image, and the true answers: an annotated sample turned into phrases with masks.

A phrase with a mask is a present question, one that is known not to be in the image an absent one. A phrase whose
place is not known to the pixel (a box, a tag) is not asked: a filled box is no truth for a mask.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from promptseg.data.sample import Kind, Mask, Sample, ignore_mask, target_mask, union_mask
from promptseg.prompts import ExemplarPrompt, Query, QueryLike, TextPrompt


@dataclass(frozen=True, eq=False)
class Question:
    """One phrase asked of one image, with the true answer.

    Attributes:
        phrase: What is asked.
        kind: What sort of phrase; None for an absent one.
        truth: Where the phrase holds, bool (H, W); empty for an absent phrase.
        valid: Pixels where the answer is known, bool (H, W).
        source: Who drew the truth: "human", "box" for a filled box, or the process that made it; None for an absent
            phrase.
        prompt: What it is asked with; None: the phrase itself.
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
    def query(self) -> QueryLike:
        """What the model is asked."""
        return self.phrase if self.prompt is None else Query(self.phrase, (self.prompt,))


def build_questions(sample: Sample, *, class_names: Sequence[str] = ()) -> tuple[Question, ...]:
    """Turn a sample into the questions that can be judged.

    Args:
        sample: An annotated image.
        class_names: Names that together label every pixel: each is asked of every image, in this order, and pixels of
            none of them are ignored. Empty: the sample's own targets, then its absent phrases.

    Returns:
        One question per phrase. A target that lies wholly in ignored regions is left out.

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
            Question(name, located[name].kind, truths[name], labeled, located[name].source)
            if name in located
            else Question(name, None, nothing, labeled)
            for name in class_names
        )
    present = (
        Question(
            phrase=target.phrase,
            kind=target.kind,
            truth=target_mask(target, sample.size_hw),
            valid=~ignore_mask(target, sample.size_hw),
            source=target.source,
        )
        for target in sample.with_evidence("mask")
    )
    everywhere = ~nothing
    absent = (Question(phrase, None, nothing, everywhere) for phrase in sample.absent)
    return (*(question for question in present if question.present), *absent)


def digest_questions(image: Path | bytes, questions: Sequence[Question]) -> str:
    """Hash an image's bytes, the phrases, prompts and truths: equal digests mean that the same was asked."""
    digest = hashlib.sha256(image.read_bytes() if isinstance(image, Path) else image)
    for question in questions:
        digest.update(f"\0{question.phrase}\0{question.kind}\0".encode())
        match question.prompt:
            case TextPrompt(text=text):
                digest.update(f"{text}\0".encode())
            case ExemplarPrompt(image_rgb=image_rgb, mask=mask):
                digest.update(image_rgb.tobytes())
                digest.update(b"" if mask is None else np.packbits(mask).tobytes())
        digest.update(np.packbits(question.truth).tobytes())
        digest.update(np.packbits(question.valid).tobytes())
    return digest.hexdigest()

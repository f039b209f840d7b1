"""The samples of a named set, with phrases to ask that are not there."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from promptseg.data.jsonl import MadeMasks
from promptseg.data.negatives import NegativeSampler, count_cooccurrence
from promptseg.data.sample import SampleSet
from promptseg.data.sets import EVAL_SETS, load_eval_set, load_training_set


def load_asked_set(name: str, data_dir: Path, *, made_masks: MadeMasks | None = None) -> SampleSet:
    """Load an evaluation set, or a training set as one.

    Args:
        name: A key of `promptseg.data.sets.EVAL_SETS`, or the name of a training index.
        data_dir: Holds the index files and image directories.
        made_masks: From `promptseg.data.jsonl.load_made_masks`.

    Raises:
        DataError: The data is missing or malformed.
    """
    if name in EVAL_SETS:
        return load_eval_set(name, data_dir, made_masks=made_masks)
    return load_tuning_set(name, data_dir, made_masks=made_masks)


def load_tuning_set(name: str, data_dir: Path, *, made_masks: MadeMasks | None = None, seed: int = 0) -> SampleSet:
    """Load a training set, and ask each image as many absent phrases as present ones, if so many are known.

    Args:
        name: Of the index; evaluation sets are refused.
        data_dir: Holds the index files and image directories.
        made_masks: From `promptseg.data.jsonl.load_made_masks`.
        seed: Of the choice of absent phrases.

    Raises:
        DataError: The set is for evaluation, or its data is missing or malformed.
    """
    samples = load_training_set(name, data_dir, made_masks=made_masks)
    vocabulary = tuple(sorted(set().union(*(sample.exhaustive for sample in samples))))
    sampler = NegativeSampler(vocabulary, count_cooccurrence(samples))

    def draw(sample_id: str) -> np.random.Generator:
        # One generator an image: leaving one out does not change what is asked of the others.
        return np.random.default_rng([seed, *sample_id.encode()])

    asked = tuple(
        replace(sample, absent=sampler.draw(sample, len(sample.with_evidence("mask")), draw(sample.sample_id)))
        for sample in samples
    )
    return SampleSet(asked, samples.problems)

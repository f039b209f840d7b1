"""Add phrases to samples that are known to be absent, so that presence can be measured and calibrated."""

from dataclasses import replace

import numpy as np

from promptseg.data.negatives import NegativeSampler, count_cooccurrence
from promptseg.data.sample import SampleSet


def add_absent_phrases(samples: SampleSet, *, seed: int = 0) -> SampleSet:
    """Give every sample as many absent phrases as it has masked phrases, as far as so many are known.

    A phrase is known to be absent where the annotation says that it is complete for that name (`Sample.exhaustive`).
    Samples of which nothing is known to be absent stay as they are.

    Args:
        samples: Annotated images.
        seed: Seed of the choice of absent phrases.
    """
    vocabulary = tuple(sorted(set().union(*(sample.exhaustive for sample in samples))))
    if not vocabulary:
        return samples
    sampler = NegativeSampler(vocabulary, count_cooccurrence(samples))

    def draw(sample_id: str) -> np.random.Generator:
        # One generator per image: leaving an image out does not change the phrases of the others.
        return np.random.default_rng([seed, *sample_id.encode()])

    return SampleSet(
        tuple(
            replace(
                sample,
                absent=(
                    *sample.absent,
                    *sampler.draw(sample, len(sample.with_evidence("mask")), draw(sample.sample_id)),
                ),
            )
            for sample in samples
        ),
        samples.problems,
    )

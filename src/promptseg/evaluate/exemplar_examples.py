"""Examples whose queries are images instead of phrases: another image of the set shows each phrase.

A phrase that no other image shows makes no query. In videos the exemplar is another frame.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from promptseg.data.sample import Sample, instance_areas, union_mask
from promptseg.errors import DataError
from promptseg.evaluate.labeled_queries import LabeledQuery, build_labeled_queries
from promptseg.evaluate.runner import EvaluationExample
from promptseg.evaluate.scoring import score_queries
from promptseg.images import read_image
from promptseg.prompts import ExemplarPrompt

MIN_AREA_SHARE = 0.005
"""Share of its image that the largest object of an exemplar must cover."""


def build_exemplar_examples(samples: Sequence[Sample], *, seed: int = 0) -> Iterator[EvaluationExample]:
    """Make an example of every image, with an exemplar for each phrase; the draw is fixed by the seed.

    Args:
        samples: Images of one set.
        seed: Seed of the draw.
    """
    showing = _find_showing(samples)
    for sample in samples:
        load_queries = partial(_build_queries, sample, showing, seed=seed)
        yield EvaluationExample(sample.sample_id, sample.image, load_queries, score_queries, sample.sequence)


def check_exemplars(samples: Sequence[Sample], name: str) -> None:
    """Check that some phrase of an image is shown by another image, so that there is something to score.

    Args:
        samples: Images of one set.
        name: Of the set, for the message.

    Raises:
        DataError: There is none.
    """
    showing = _find_showing(samples)
    for sample in samples:
        phrases = (*(target.phrase for target in sample.with_evidence("mask")), *sample.absent)
        if any(other is not sample for phrase in phrases for other in showing.get(phrase, ())):
            return
    raise DataError(
        f"{name}: nothing can be scored by example: no phrase of an image is shown by another one, on "
        f"{MIN_AREA_SHARE:.1%} of it or more; give more images of the same phrases, or use --prompt text"
    )


def _find_showing(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Find the images that may show a phrase as an exemplar."""
    showing: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        height, width = sample.size_hw
        for target in sample.with_evidence("mask"):
            if max(instance_areas(target)) >= MIN_AREA_SHARE * height * width:
                showing[target.phrase].append(sample)
    return showing


def _build_queries(sample: Sample, showing: Mapping[str, Sequence[Sample]], *, seed: int) -> list[LabeledQuery]:
    # One generator per image: leaving an image out does not change the queries of the others.
    rng = np.random.default_rng([seed, *sample.sample_id.encode()])
    queries = []
    for query in build_labeled_queries(sample):
        others = [other for other in showing.get(query.phrase, ()) if other.sample_id != sample.sample_id]
        if others:
            shown = others[int(rng.integers(len(others)))]
            queries.append(replace(query, prompt=_exemplar_prompt(query.phrase, shown)))
    return queries


def _exemplar_prompt(phrase: str, sample: Sample) -> ExemplarPrompt:
    # In referring data two targets of an image may have the same phrase.
    rles = [rle for target in sample.targets if target.phrase == phrase for rle in target.masks]
    return ExemplarPrompt(read_image(sample.image), mask=union_mask(rles, sample.size_hw))

"""Training phrases without the classes that a benchmark calls unseen."""

from collections.abc import Iterable
from dataclasses import replace

from promptseg.data.sample import Problem, SampleSet
from promptseg.language.phrases import broader, canonical, mentions
from promptseg.language.taxonomy import NARROWER


def without_classes(samples: SampleSet, names: Iterable[str]) -> SampleSet:
    """Leave out every phrase that says one of these names, a synonym of it, or a kind of it, in singular or plural.

    "A dog on the couch" goes for "couch" too, although it means the dog; so do phrases that are known to be absent. A
    image stays where a target does.

    Args:
        samples: From `read_phrasecut`, or any others.
        names: To be unseen. Names are taken as they are said: for Pascal's "dining table" say "table" as well, which
            the published protocol means by it.

    Returns:
        The other phrases, and a problem per phrase that was left out.

    Source:
        timojl/clipseg @ 77c4e2d, datasets/phrasecut.py, remove_classes (MIT). Differs: kinds come from
        `promptseg.language.taxonomy`, everyday names, not from WordNet, whose hyponyms are many more ("person"
        excepted, for which both have a short list).
    """
    unseen = tuple(dict.fromkeys(kind for name in names for kind in (name, *_kinds(name))))
    problems = []
    kept = []
    for sample in samples:
        said: dict[str, str] = {}
        for phrase in (*(target.phrase for target in sample.targets), *sample.absent):
            if name := next((name for name in unseen if mentions(phrase, name)), None):
                said[phrase] = name
        problems += [
            Problem(sample.sample_id, f"'{phrase}' says {name}, which is to be unseen") for phrase, name in said.items()
        ]
        targets = tuple(target for target in sample.targets if target.phrase not in said)
        if targets:
            absent = tuple(phrase for phrase in sample.absent if phrase not in said)
            kept.append(replace(sample, targets=targets, absent=absent))
    return SampleSet(tuple(kept), samples.problems + tuple(problems))


def _kinds(name: str) -> list[str]:
    return [kind for kinds in NARROWER.values() for kind in kinds if canonical(name) in broader(kind)]

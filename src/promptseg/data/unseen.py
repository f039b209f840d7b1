"""Training phrases without the unseen classes of a zero-shot benchmark."""

from collections.abc import Iterable
from dataclasses import replace

from promptseg.data.sample import Problem, SampleSet
from promptseg.language.phrases import broader, canonical, mentions
from promptseg.language.taxonomy import NARROWER


def without_classes(samples: SampleSet, names: Iterable[str]) -> SampleSet:
    """Remove every phrase that contains one of these names, a synonym or a hyponym of it, in singular or plural.

    "A dog on the couch" is also removed for "couch", although it refers to the dog. Absent phrases are treated in the
    same way. An image stays if one of its targets stays. The result is the training set that a zero-shot benchmark such
    as `pascal-zs` assumes.

    Args:
        samples: Result of `read_phrasecut`, or other samples.
        names: Unseen names, taken literally: for Pascal's "dining table", add "table", as the published protocol does.

    Returns:
        The other phrases, and one problem for each removed phrase.

    Source:
        timojl/clipseg @ 77c4e2d, datasets/phrasecut.py, remove_classes (MIT). Differs: hyponyms come from the everyday
        names in `promptseg.language.taxonomy`, not from WordNet, which has many more (except for "person", where both
        use a short list).
    """
    unseen = tuple(dict.fromkeys(one for name in names for one in (name, *_hyponyms(name))))
    problems = []
    kept = []
    for sample in samples:
        removed: dict[str, str] = {}
        for phrase in (*(target.phrase for target in sample.targets), *sample.absent):
            if name := next((name for name in unseen if mentions(phrase, name)), None):
                removed[phrase] = name
        problems += [
            Problem(sample.sample_id, f"'{phrase}' contains {name}, which is unseen")
            for phrase, name in removed.items()
        ]
        targets = tuple(target for target in sample.targets if target.phrase not in removed)
        if targets:
            absent = tuple(phrase for phrase in sample.absent if phrase not in removed)
            kept.append(replace(sample, targets=targets, absent=absent))
    return SampleSet(tuple(kept), samples.problems + tuple(problems))


def _hyponyms(name: str) -> list[str]:
    return [kind for kinds in NARROWER.values() for kind in kinds if canonical(name) in broader(kind)]

from dataclasses import replace
from pathlib import Path

from promptseg.data.sample import Problem, Sample, SampleSet, Target
from promptseg.data.unseen import without_classes


def asked(*phrases_by_image):
    samples = tuple(
        Sample(str(number), Path("x.jpg"), (4, 4), tuple(Target(phrase) for phrase in phrases))
        for number, phrases in enumerate(phrases_by_image)
    )
    return SampleSet(samples, (Problem("before", "left out"),))


def test_unseen_names_their_synonyms_and_hyponyms_are_removed():
    samples = asked(
        ("red cars", "taxi", "car door", "carpet", "blue sky"),
        ("dog on the sofa", "man"),
        ("white sedan",),
    )
    left = without_classes(samples, ["car", "couch"])
    assert [[target.phrase for target in sample.targets] for sample in left] == [["carpet", "blue sky"], ["man"]]
    removed = [str(problem) for problem in left.problems]
    assert len(removed) == 6
    assert removed[0] == "before: left out"
    assert "1: 'dog on the sofa' contains couch, which is unseen" in removed
    assert "2: 'white sedan' contains sedan, which is unseen" in removed


def test_person_includes_its_usual_names():
    left = without_classes(asked(("woman", "two boys", "tall man", "pedestrians", "tree")), ["person"])
    assert [target.phrase for target in left[0].targets] == ["tree"]


def test_absent_phrases_are_removed_too():
    (sample,) = asked(("blue sky",)).samples
    samples = SampleSet((replace(sample, absent=("a dog", "cup")),))
    left = without_classes(samples, ["dog"])
    assert left[0].absent == ("cup",)
    assert [str(problem) for problem in left.problems] == ["0: 'a dog' contains dog, which is unseen"]

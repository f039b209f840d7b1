"""The vocabulary of training names, and which of them may hold at the same pixel."""

from pathlib import Path

import numpy as np

from promptseg.data.sample import Sample, Target
from promptseg.train.pixel_text.vocabulary import Vocabulary, collect_vocabulary


def sample(*targets: Target) -> Sample:
    return Sample("one", Path("one.png"), (8, 8), targets)


def test_vocabulary_has_every_name_once_and_no_phrases() -> None:
    vocabulary = collect_vocabulary(
        [
            sample(Target("Traffic_Light"), Target("left man in red", kind="phrase")),
            sample(Target("sky", kind="stuff", alternatives=("blue sky",))),
        ],
        extra=("sky", "Zebra"),
    )
    assert vocabulary.names == ("blue sky", "sky", "traffic light", "zebra")
    assert vocabulary.find(["ZEBRA", "unicorn", "sky"]) == [3, 1]


def test_related_names_may_coincide() -> None:
    names = ("car", "cat", "dog", "hood", "sports car", "taxi", "toy car", "vehicle")
    vocabulary = Vocabulary(names)
    may_coincide = np.array([vocabulary.may_coincide(index) for index in range(len(names))])
    assert may_coincide.diagonal().all() and np.array_equal(may_coincide, may_coincide.T)
    of_car = {name for name, flag in zip(names, may_coincide[0], strict=True) if flag}
    assert of_car == {"car", "hood", "sports car", "taxi", "toy car", "vehicle"}
    assert may_coincide[4, 6], "a sports car may be a toy car"
    assert not may_coincide[1, 2]

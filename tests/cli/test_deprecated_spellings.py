"""Old spellings: each is translated, and nothing else is."""

import doctest

import pytest

from promptseg.cli import deprecated_spellings
from promptseg.cli.deprecated_spellings import translate


def test_the_examples_of_the_documentation_hold() -> None:
    outcome = doctest.testmod(deprecated_spellings)
    assert (outcome.attempted, outcome.failed) == (3, 0)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            ["evaluate", "--benchmark=coco-20i", "--fold", "0"],
            ["evaluate-benchmark", "coco-20i", "--fold", "0"],
            "promptseg evaluate-benchmark NAME",
        ),
        (
            ["evaluate", "--set", "a", "--fit-thresholds", "t.json", "--keep", "0.9"],
            ["calibrate", "--set", "a", "--keep", "0.9", "--out", "t.json"],
            "promptseg calibrate --out FILE",
        ),
    ],
)
def test_old_spellings_are_translated(old: list[str], new: list[str], said: str) -> None:
    arguments, notice = translate(old)
    assert arguments == new
    assert notice is not None and notice.startswith("deprecated: ") and said in notice


@pytest.mark.parametrize("arguments", [[], ["predict", "--benchmark", "x"], ["evaluate", "--benchmark"]])
def test_other_arguments_stay(arguments: list[str]) -> None:
    assert translate(arguments) == (arguments, None)

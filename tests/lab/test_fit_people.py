"""Captions say which people an image shows, where they agree."""

import numpy as np
import pytest

from lab.fit_people import NAMES, CaptionedImage, count_kinds, decide, fit_people
from promptseg.detectors.box_selection import Boxes
from promptseg.language.person_kinds import PersonKind
from promptseg.models.promptseg.people import judge_heads


def test_captions_are_counted_once_for_each_kind() -> None:
    counts = count_kinds(["Two women and a woman.", "A lady with her girl", "people on a bench", "A boy"])
    assert counts == {"woman": 2, "man": 0, "child": 2, "girl": 1, "boy": 1, "adult": 2}


@pytest.mark.parametrize(
    ("number", "of_other", "max_other", "said"), [(3, 0, 0, True), (3, 1, 0, None), (3, 1, 1, True), (0, 4, 0, False)]
)
def test_captions_must_agree(number: int, of_other: int, max_other: int, said: bool | None) -> None:
    assert decide(number, of_other, max_other=max_other) is said


def test_two_clear_kinds_are_told_apart() -> None:
    generator = np.random.default_rng(0)
    images = []
    for index in range(60):
        is_female, is_child = index % 2 == 0, index % 3 == 0
        features = generator.normal(0, 0.3, (1, 1000)).astype(np.float32)
        features[0, :50] += 1 if is_female else -1
        features[0, 50:100] += 1 if is_child else -1
        boxes = Boxes(np.array([[0.1, 0.1, 0.6, 0.9]]), np.array([0.9]))
        images.append(
            CaptionedImage(
                0, is_female, is_child, dict.fromkeys(NAMES, 0), True, boxes, features, dict.fromkeys(NAMES, 0.0)
            )
        )
    weights = fit_people(images[:40])
    for image in images[40:]:
        people = judge_heads(image.boxes, image.features, weights)
        assert (people.female[0] > 0.5) == image.is_female
        assert (people.child[0] > 0.5) == image.is_child
        assert people.best_score(PersonKind("female")) == pytest.approx(0.9 * people.female[0])

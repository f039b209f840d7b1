"""Of the detected people, those of the kind that was asked for are found."""

import numpy as np
import pytest
from numpy.typing import NDArray

from promptseg.detectors.box_selection import Boxes
from promptseg.language.person_kinds import PersonKind
from promptseg.models.promptseg.people import People, find_people, load_people_weights
from promptseg.models.promptseg.settings import KindSettings

WOMAN, MAN, BOY = PersonKind("female"), PersonKind("male"), PersonKind("male", is_child=True)
IMAGE = np.zeros((60, 80, 3), dtype=np.uint8)
IMAGE[:, 40:] = 255
# one person in the dark left half, one in the bright right half, and one that is hardly detected
DETECTIONS = np.array(
    [[0.0, 0.0, 0.41, 1.0, 0.9], [0.61, 0.0, 1.0, 1.0, 0.8], [0.3, 0.3, 0.5, 0.5, 0.05]], dtype=np.float32
)


class Eye:
    """A classifier that sees what the fitted weights take for a woman in bright crops, the opposite in dark ones."""

    def __init__(self) -> None:
        self.crops: list[tuple[int, ...]] = []

    def classify(self, image_rgb: NDArray[np.uint8], *, image_size: int | None = None) -> NDArray[np.float32]:
        self.crops.append((*image_rgb.shape[:2], image_size or 0))
        direction = load_people_weights().female
        sign = 1 if image_rgb.mean() > 100 else -1
        return np.tile((sign * 20 * direction / np.abs(direction).max())[:, None, None], (1, 2, 3))


def people(female: list[float], child: list[float]) -> People:
    boxes = np.tile([0.1, 0.1, 0.5, 0.9], (len(female), 1))
    scores = np.linspace(0.9, 0.5, len(female)) if female else np.zeros(0)
    return People(Boxes(boxes, scores), np.array(female, np.float32), np.array(child, np.float32))


def test_people_are_judged_by_the_upper_part_of_their_boxes() -> None:
    eye = Eye()
    found = find_people(IMAGE, DETECTIONS, (0,), eye, KindSettings(head_aspect=1.0, head_side=96))
    assert eye.crops == [(33, 33, 96), (32, 32, 96)]
    assert found.boxes.scores == pytest.approx([0.9, 0.8])
    assert found.female[0] < 0.2 and found.female[1] > 0.8


def test_nobody_is_classified_where_nobody_is_detected() -> None:
    eye = Eye()
    found = find_people(IMAGE, DETECTIONS[2:], (0,), eye, KindSettings())
    assert eye.crops == [] and found.best_score(WOMAN) == 0 and not len(found.of_kind(WOMAN, min_probability=0.5))


def test_the_best_are_looked_at_if_there_are_many() -> None:
    eye = Eye()
    assert len(find_people(IMAGE, DETECTIONS, (0,), eye, KindSettings(max_people=1)).boxes) == 1


def test_each_person_is_of_one_gender() -> None:
    found = people([0.9, 0.2, 0.6], [0.1, 0.1, 0.1])
    assert found.of_kind(WOMAN, min_probability=0.5).scores == pytest.approx([0.9, 0.5])
    assert found.of_kind(MAN, min_probability=0.5).scores == pytest.approx([0.7])


def test_a_boy_is_male_and_a_child() -> None:
    assert people([0.2, 0.2, 0.9], [0.1, 0.9, 0.9]).judge(BOY) == pytest.approx([0.08, 0.72, 0.09])


def test_the_likeliest_person_is_chosen_if_none_is_likely() -> None:
    assert people([0.1, 0.3], [0.0, 0.0]).of_kind(WOMAN, min_probability=0.5).scores == pytest.approx([0.5])


def test_looks_alone_rule_out_no_gender() -> None:
    found = people([0.01, 0.1], [0.0, 0.0])
    assert found.best_score(WOMAN, least_of_gender=0.2) == pytest.approx(0.2 * found.boxes.scores[0])
    assert found.best_score(MAN, least_of_gender=0.2) == found.best_score(MAN)
    assert found.judge(BOY, least_of_gender=0.2) == pytest.approx([0, 0])


def test_the_score_of_a_kind_is_that_of_a_detection_times_its_probability() -> None:
    assert people([0.5, 0.9], [0.0, 0.0]).best_score(WOMAN) == pytest.approx(0.45)

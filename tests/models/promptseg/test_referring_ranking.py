"""Which candidate a referring expression means."""

import numpy as np
import pytest

from promptseg.detectors.box_selection import Boxes, select_boxes
from promptseg.language.reading import PhraseReader
from promptseg.models.promptseg.color_cue import to_hsv
from promptseg.models.promptseg.referring_ranking import (
    CUES,
    GroundingInput,
    Map,
    SceneCues,
    choose,
    cue_weights,
    measure,
    texts_to_segment,
    with_weights,
)
from promptseg.models.promptseg.settings import RankingSettings

NAMES = ("person", "frisbee", "bench", "suitcase")
READER = PhraseReader(NAMES)
SETTINGS = RankingSettings()


def row_of_boxes(num: int) -> Boxes:
    """Equal boxes side by side."""
    left = np.arange(num) / num
    return Boxes(np.stack([left, left * 0 + 0.3, left + 0.6 / num, left * 0 + 0.7], axis=1), np.full(num, 0.5))


def one_box(*box_xyxy: float) -> Boxes:
    return Boxes(np.array([box_xyxy]), np.array([0.8]))


def peak(rows: slice, columns: slice) -> Map:
    """A map of shape (20, 40) with one bright window."""
    shown = np.zeros((20, 40), dtype=np.float32)
    shown[rows, columns] = 1.0
    return shown


def ground(phrase: str, scene: SceneCues, candidates: Boxes | None = None) -> GroundingInput:
    return GroundingInput(READER.read(phrase), row_of_boxes(4) if candidates is None else candidates, scene)


@pytest.mark.parametrize(
    ("phrase", "index"),
    [
        ("the second worker from the right", 2),
        ("the leftmost worker", 0),
        ("the worker on the right", 3),
        ("the third worker from the left", 2),
        ("the ninth worker from the left", 3),
        ("the worker near the tree", 3),
        ("the worker not near the tree", 0),
        ("the worker far from the tree", 0),
    ],
)
def test_position_and_relations_to_what_only_a_map_shows(phrase: str, index: int) -> None:
    scene = SceneCues({}, {"tree": peak(slice(5, 10), slice(37, 40))})
    assert choose(ground(phrase, scene), SETTINGS) == index


# On the chest of the second of four workers; and a bench that the third touches.
FRISBEE = one_box(0.30, 0.5, 0.36, 0.55)
BENCH = one_box(0.45, 0.6, 0.75, 0.8)
DETECTED = {(0,): row_of_boxes(4), (1,): FRISBEE, (2,): BENCH}


@pytest.mark.parametrize(
    ("phrase", "index"),
    [
        ("the worker next to the frisbee", 1),
        ("the worker on the bench", 2),
        ("the worker to the right of the bench", 3),
        ("the worker on the bench that is near a frisbee", 2),
        ("the worker to the left of the worker on the bench", 1),
    ],
)
def test_relations_to_detected_objects(phrase: str, index: int) -> None:
    assert choose(ground(phrase, SceneCues(DETECTED, {})), RankingSettings(relation_weight=1.0)) == index


def test_a_candidate_has_no_relation_to_itself() -> None:
    grounding = ground("the worker next to the worker", SceneCues({(0,): one_box(0.0, 0.3, 0.15, 0.7)}, {}))
    relation = measure(grounding, SETTINGS)[:, CUES.index("relation")]
    assert relation[0] == relation.min()
    assert relation.argmax() == 1


def test_the_surest_detection_is_meant_where_nothing_else_tells() -> None:
    boxes = row_of_boxes(4).boxes_xyxy
    grounding = ground("the worker with the odd look", SceneCues({}, {}), Boxes(boxes, np.array([0.3, 0.4, 0.9, 0.2])))
    assert choose(grounding, SETTINGS) == 2
    assert not measure(grounding, SETTINGS)[:, 1:].any()


def test_a_relation_to_any_object_tells_no_candidates_apart_where_nothing_was_detected() -> None:
    assert choose(ground("the first worker from the left near something", SceneCues({}, {})), SETTINGS) == 0


@pytest.mark.parametrize(
    ("phrase", "detected", "texts"),
    [
        ("the worker near the tree", {}, ("worker", "tree")),
        ("the worker near the tree on the bench", DETECTED, ("worker", "tree")),
        ("the worker near the bench", {(2,): Boxes(np.zeros((0, 4)), np.zeros(0))}, ("worker", "bench")),
        ("the object near the tree", {}, ("the object near the tree", "tree")),
        ("the worker near something", {}, ("worker",)),
        ("the worker near the worker", {}, ("worker",)),
    ],
)
def test_maps_are_needed_of_the_subject_and_of_what_was_not_detected(
    phrase: str, detected: dict[tuple[int, ...], Boxes], texts: tuple[str, ...]
) -> None:
    assert texts_to_segment(READER.read(phrase), detected) == texts


def test_a_negated_clause_counts_the_other_way_round() -> None:
    image_rgb = np.zeros((40, 80, 3), dtype=np.uint8)
    image_rgb[:, 20:40] = (200, 20, 20)
    scene = SceneCues(DETECTED, {}, to_hsv(image_rgb))
    for said, denied in (
        ("the worker in red", "the worker not in red"),
        ("the worker on the bench", "the worker not on the bench"),
    ):
        cues = [measure(ground(phrase, scene), SETTINGS)[:, 1:] for phrase in (said, denied)]
        assert cues[0].any()
        np.testing.assert_allclose(cues[0], -cues[1])


@pytest.mark.parametrize(
    ("phrase", "index"),
    [
        ("the second red suitcase from the left", 3),
        ("the red suitcase on the left", 1),
        ("the black suitcase on the right", 2),
        ("the suitcase on the left", 0),
    ],
)
def test_a_position_is_counted_among_the_candidates_of_the_color(phrase: str, index: int) -> None:
    image_rgb = np.zeros((40, 80, 3), dtype=np.uint8)
    image_rgb[:, 20:40] = image_rgb[:, 60:] = (200, 20, 20)
    assert choose(ground(phrase, SceneCues({}, {}, to_hsv(image_rgb))), SETTINGS) == index


def test_weights_are_replaced_by_the_order_of_the_cues() -> None:
    settings = with_weights(RankingSettings(color_floor=0.1), np.array([1.0, 2.0, 3.0, 4.0]))
    assert (settings.score_weight, settings.color_weight) == (1.0, 2.0)
    assert (settings.relation_weight, settings.spatial_weight) == (3.0, 4.0)
    assert settings.color_floor == 0.1
    np.testing.assert_array_equal(cue_weights(settings), [1.0, 2.0, 3.0, 4.0])


def test_of_boxes_on_one_thing_the_surest_stays() -> None:
    boxes = [
        (0.1, 0.1, 0.5, 0.9),
        (0.11, 0.1, 0.5, 0.9),
        (0.5, 0.1, 0.9, 1.4),
        (0.2, 0.2, 0.2, 0.4),
        (0.0, 0.0, 0.1, 0.1),
    ]
    scores = [(0.6, 0.0), (0.7, 0.9), (0.5, 0.1), (0.9, 0.9), (0.1, 0.9)]
    detections = np.concatenate([boxes, scores], axis=1).astype(np.float32)
    found = select_boxes(detections, [0], min_score=0.25)
    np.testing.assert_allclose(found.scores, [0.7, 0.5])
    np.testing.assert_allclose(found.boxes_xyxy[1], (0.5, 0.1, 0.9, 1.0), rtol=1e-6)
    assert len(select_boxes(detections, [], min_score=0.0)) == 0

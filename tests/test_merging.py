"""Merging masks to segments: properties, and Mask2Former's rule, re-stated."""

import numpy as np
import pytest

from promptseg.ops.resize import sigmoid
from promptseg.results import Instance
from promptseg.results.merging import MergeSettings, SegmentCandidate, merge_segments

SIZE_HW = (24, 32)


def thing(box: tuple[int, int, int, int], score: float, class_index: int = 0) -> SegmentCandidate:
    mask = np.zeros(SIZE_HW, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return SegmentCandidate(class_index, True, score, Instance.from_mask(mask, score))


def stuff(logits: np.ndarray, score: float, class_index: int) -> SegmentCandidate:
    return SegmentCandidate(class_index, False, score, logits.astype(np.float32))


def mask2former(candidates: list[SegmentCandidate], overlap: float) -> list[tuple[int, np.ndarray]]:
    """`panoptic_inference`: argmax of score x mask, kept where enough of the mask is won; stuff is fused."""
    masks = np.stack([sigmoid(candidate.mask) for candidate in candidates])
    owner = (np.array([candidate.score for candidate in candidates])[:, None, None] * masks).argmax(axis=0)
    found: list[tuple[int, np.ndarray]] = []
    for index, candidate in enumerate(candidates):
        won, area = owner == index, (masks[index] >= 0.5).sum()
        mask = won & (masks[index] >= 0.5)
        if not (won.any() and area and mask.any()) or won.sum() / area < overlap:
            continue
        fused = [each for each in found if each[0] == candidate.class_index and not candidate.is_thing]
        if fused:
            fused[0][1][mask] = True
        else:
            found.append((candidate.class_index, mask))
    return found


def test_the_contest_of_all_is_mask2formers_rule() -> None:
    rng = np.random.default_rng(2)
    for _ in range(30):
        centers = rng.uniform(0, 1, (5, 2)) * SIZE_HW
        grid = np.stack(np.meshgrid(*(np.arange(side) for side in SIZE_HW), indexing="ij"), -1)
        candidates = [
            SegmentCandidate(
                index % 3,
                index % 3 != 0,
                float(rng.uniform(0.3, 1)),
                (6 - np.linalg.norm(grid - center, axis=-1)).astype(np.float32),
            )
            for index, center in enumerate(centers)
        ]
        # no segment is given up here: then ours gives the pixels away again, and theirs does not
        settings = MergeSettings(contest="all", min_visible_share=0.0)
        merged = merge_segments(candidates, SIZE_HW, settings)
        expected = mask2former(candidates, overlap=0.0)
        assert len(merged.segments) == len(expected)
        for class_index, mask in expected:
            ids = np.unique(merged.segment_ids[mask])
            assert len(ids) == 1 and merged.segments[ids[0] - 1].class_index == class_index
            np.testing.assert_array_equal(merged.segment_ids == ids[0], mask)


def test_stuff_that_comes_twice_is_one_segment_and_ids_stay_unique() -> None:
    """transformers' compute_segments gives two things one id here."""
    bands = np.full((4, *SIZE_HW), -9.0)
    for index in range(4):
        bands[index, 6 * index : 6 * index + 6] = 9.0
    sky, person, again, car = (
        SegmentCandidate(class_index, is_thing, 0.9, band.astype(np.float32))
        for class_index, is_thing, band in zip((0, 1, 0, 2), (False, True, False, True), bands, strict=True)
    )
    merged = merge_segments([sky, person, again, car], SIZE_HW, MergeSettings(contest="all"))
    assert sorted(one.class_index for one in merged.segments) == [0, 1, 2]
    assert np.unique(merged.segment_ids).tolist() == [1, 2, 3]


def test_things_come_first_by_score_and_what_is_hidden_is_given_up() -> None:
    everywhere = stuff(np.full((6, 8), 3.0), 0.99, 5)
    best, hidden, beside = thing((2, 2, 12, 12), 0.9), thing((3, 3, 11, 11), 0.8), thing((10, 2, 22, 12), 0.7, 1)
    merged = merge_segments([hidden, everywhere, beside, best], SIZE_HW)
    assert [(one.class_index, one.score) for one in merged.segments] == [(5, 0.99), (0, 0.9), (1, 0.7)]
    assert (merged.segment_ids[2:12, 2:12] == 2).all(), "the better one keeps what both want"
    assert (merged.segment_ids > 0).all()


def test_a_small_object_of_another_class_may_lie_on_top() -> None:
    person, tie, twin = thing((0, 0, 20, 20), 0.9), thing((8, 4, 12, 12), 0.6, 1), thing((2, 2, 6, 6), 0.6, 0)
    plain = merge_segments([person, tie, twin], SIZE_HW)
    assert len(plain.segments) == 1
    settings = MergeSettings(max_inset_share=0.3, min_inset_score=0.5)
    merged = merge_segments([person, tie, twin], SIZE_HW, settings)
    assert [one.class_index for one in merged.segments] == [0, 1]
    assert merge_segments([person, thing((8, 4, 12, 12), 0.4, 1)], SIZE_HW, settings).segments == plain.segments


def test_stuff_that_wins_too_little_leaves_its_pixels_to_others() -> None:
    left = np.full((12, 16), -4.0)
    left[:, :8] = 4.0
    weak = np.full((12, 16), 0.4)
    weak[:, 8:] = 3.9
    shadow = np.where(left > 0, 1.0, -4.0)
    shadow[0, 9] = 8.0
    merged = merge_segments([stuff(left, 0.9, 0), stuff(weak, 0.8, 1), stuff(shadow, 0.6, 2)], SIZE_HW)
    assert [one.class_index for one in merged.segments] == [0, 1]
    assert (merged.segment_ids > 0).all()


def test_islands_and_holes_go_to_what_is_around_them() -> None:
    logits = np.full(SIZE_HW, 5.0)
    logits[10, 10] = -9.0
    other = np.full(SIZE_HW, -9.0)
    other[:, 20:] = 9.0
    other[3, 3] = 9.0
    candidates = [stuff(logits, 0.9, 0), stuff(other, 0.95, 1)]
    rough = merge_segments(candidates, SIZE_HW)
    assert rough.segment_ids[10, 10] == 0 and rough.segment_ids[3, 3] == rough.segment_ids[5, 25]
    clean = merge_segments(candidates, SIZE_HW, MergeSettings(min_island_share=4 / np.prod(SIZE_HW)))
    assert clean.segment_ids[10, 10] == clean.segment_ids[3, 3] == clean.segment_ids[5, 5]
    tiny = merge_segments([thing((4, 4, 5, 5), 0.9)], SIZE_HW, MergeSettings(min_island_share=0.1))
    assert (tiny.segment_ids > 0).sum() == 1, "the largest part of a segment stays"


@pytest.mark.parametrize("contest", ["things first", "all"])
def test_the_order_of_candidates_does_not_matter(contest: str) -> None:
    rng = np.random.default_rng(4)
    size = SIZE_HW if contest == "all" else (12, 16)
    candidates = [stuff(rng.normal(size=size), score, index) for index, score in enumerate((0.9, 0.7, 0.5))]
    candidates += [thing((4 * index, 3, 4 * index + 7, 12), 0.9 - index / 10, 7) for index in range(3)]
    settings = MergeSettings(contest=contest, min_visible_share=0.1)
    first = merge_segments(candidates, SIZE_HW, settings)
    again = merge_segments([candidates[index] for index in rng.permutation(len(candidates))], SIZE_HW, settings)
    np.testing.assert_array_equal(first.segment_ids, again.segment_ids)
    assert first.segments == again.segments


def test_nothing_comes_of_nothing() -> None:
    for candidates in ([], [thing((2, 2, 5, 5), 0.1)]):
        merged = merge_segments(candidates, SIZE_HW, MergeSettings(min_score=0.2))
        assert merged.segments == () and not merged.segment_ids.any()


def test_a_narrow_gap_goes_to_the_stuff_beside_it_and_a_wide_one_stays() -> None:
    road = np.full(SIZE_HW, -5.0)
    road[:, :12] = 5.0
    car = thing((14, 0, 20, 24), 0.9)  # 2 pixels from the road, the image's other side is 12 pixels wide
    other = thing((29, 0, 32, 24), 0.8)
    candidates = [stuff(road, 0.9, 1), car, other]
    open_map = merge_segments(candidates, SIZE_HW)
    assert (open_map.segment_ids[:, 12:14] == 0).all()

    closed = merge_segments(candidates, SIZE_HW, MergeSettings(max_gap_share=4 / 24))
    of_class = {one.class_index: number for number, one in enumerate(closed.segments, start=1)}
    assert (closed.segment_ids[:, :14] == of_class[1]).all()
    assert (closed.segment_ids[:, 20:29] == 0).all(), "wide"
    for one in (car, other):
        window, _ = one.logits(SIZE_HW, SIZE_HW)
        assert (closed.segment_ids[window] == open_map.segment_ids[window]).all(), "things neither grow nor shrink"


def test_a_gap_between_things_stays_free() -> None:
    settings = MergeSettings(max_gap_share=4 / 24)
    merged = merge_segments([thing((0, 0, 14, 24), 0.9), thing((16, 0, 32, 24), 0.8)], SIZE_HW, settings)
    assert (merged.segment_ids[:, 14:16] == 0).all()

"""Points, boxes, scribbles and masks alone: which mask comes back, with which quality, from how many calls."""

from pathlib import Path

import numpy as np
import pytest
from drawn_masker import SIZE_HW, DrawnMasker, Mask, rectangle, same
from small_maskers import untrained_mobile_sam

import promptseg
from promptseg import BoxPrompt, MaskPrompt, PointPrompt, Query
from promptseg.errors import CheckpointError, PromptError, UnsupportedPromptError
from promptseg.models.interactive.build import build
from promptseg.models.interactive.config import InteractiveConfig
from promptseg.models.interactive.segmenter import InteractiveSegmenter
from promptseg.models.registry import LoadOptions
from promptseg.prompts import QueryLike, to_queries
from promptseg.results import QueryResult
from promptseg.runtime import Runtime
from promptseg.sam.base import SamEmbedding
from promptseg.sam.geometric_prompts import MAX_POINTS, read_geometric_prompts, scribble_points
from promptseg.segmenter import Prediction

LEFT, RIGHT, SMALL = rectangle(8, 8, 48, 64), rectangle(72, 16, 120, 80), rectangle(52, 72, 64, 84)
IMAGE = np.zeros((*SIZE_HW, 3), dtype=np.uint8)
ON_LEFT, ON_RIGHT = PointPrompt(((20, 30),)), PointPrompt(((100, 40),))
AROUND_LEFT, AROUND_RIGHT = BoxPrompt((6, 6, 50, 66)), BoxPrompt((70, 14, 122, 82))


@pytest.fixture
def masker() -> DrawnMasker:
    return DrawnMasker([LEFT, RIGHT, SMALL])


@pytest.fixture(scope="module")
def random_segmenter() -> InteractiveSegmenter:
    return InteractiveSegmenter(untrained_mobile_sam(128))


@pytest.fixture(scope="module")
def random_image(random_segmenter: InteractiveSegmenter) -> SamEmbedding:
    noise = np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8)
    return random_segmenter.encode_image(noise)


def ask(masker: DrawnMasker, *items: QueryLike) -> Prediction:
    segmenter = InteractiveSegmenter(masker)
    return segmenter.segment(segmenter.encode_image(IMAGE), to_queries(items))


def masks_of(prediction: Prediction) -> list[Mask]:
    """The mask of each query, as a result shows it."""
    return [np.any([each.mask for each in found], axis=0) for found in prediction.instances or () if found is not None]


def as_result(prediction: Prediction, index: int = 0) -> QueryResult:
    logits = prediction.mask_logits[index]
    return QueryResult("it", 1.0, logits, SIZE_HW, 0.5, 0.5, (prediction.instances or ())[index])


def test_a_point_gets_the_best_scored_of_three(masker: DrawnMasker) -> None:
    found = ask(masker, ON_LEFT)
    assert same(masks_of(found)[0], LEFT)
    assert found.presence.tolist() == [1.0]
    ((instance,),) = found.instances or ()
    assert (instance.score, instance.mask_quality) == (1.0, pytest.approx(0.9))
    assert found.mask_quality.tolist() == pytest.approx([0.9])
    assert masker.calls == [(1, "levels")]


@pytest.mark.parametrize(
    "item", [AROUND_RIGHT, PointPrompt(((80, 20), (110, 70))), Query("it", (AROUND_RIGHT, ON_RIGHT))]
)
def test_boxes_and_several_points_get_one_mask(masker: DrawnMasker, item: QueryLike) -> None:
    assert same(masks_of(ask(masker, item))[0], RIGHT)
    assert masker.calls == [(1, "single")]


def test_all_queries_of_a_form_are_one_call(masker: DrawnMasker) -> None:
    found = ask(masker, ON_LEFT, ON_RIGHT, PointPrompt(((58, 78),)), ON_LEFT)
    assert masker.calls == [(4, "levels")]
    assert all(same(*pair) for pair in zip(masks_of(found), (LEFT, RIGHT, SMALL, LEFT), strict=True))
    assert ask(masker, ON_LEFT, AROUND_LEFT, AROUND_RIGHT).mask_logits.shape == (3, 24, 32)
    assert masker.calls[1:] == [(1, "levels"), (2, "single")]


def test_each_box_is_an_object_and_so_are_the_points_outside(masker: DrawnMasker) -> None:
    found = ask(masker, Query("two", (AROUND_LEFT, AROUND_RIGHT)), Query("three", (AROUND_LEFT, ON_RIGHT, ON_LEFT)))
    for instances in found.instances or ():
        assert instances is not None
        assert all(same(each.mask, known) for each, known in zip(instances, (LEFT, RIGHT), strict=True))
    beside = PointPrompt(((20, 30), (58, 78)), on_object=(False, True))
    assert same(masks_of(ask(masker, beside))[0], SMALL)


def test_candidates_come_best_first(masker: DrawnMasker) -> None:
    segmenter = InteractiveSegmenter(masker)
    found = segmenter.propose(segmenter.encode_image(IMAGE), Query("it", (ON_LEFT,)))
    assert found.mask_quality.tolist() == pytest.approx([0.9, 0.6, 0.3])
    everything = LEFT | RIGHT | SMALL
    around = rectangle(12, 20, 28, 36)
    assert all(same(*pair) for pair in zip(masks_of(found), (LEFT, around, everything), strict=True))
    with pytest.raises(PromptError, match="'two' points at 2 objects"):
        segmenter.propose(segmenter.encode_image(IMAGE), Query("two", (AROUND_LEFT, AROUND_RIGHT)))


def test_an_answer_is_corrected_by_the_next_click(masker: DrawnMasker) -> None:
    first = as_result(ask(masker, ON_LEFT))
    assert same(masks_of(ask(masker, first.as_prompt()))[0], LEFT)
    both = Query("it", (first.as_prompt(), PointPrompt(((100, 40), (20, 30)), on_object=(True, False))))
    assert same(masks_of(ask(masker, both))[0], RIGHT)
    only_off = Query("it", (first.as_prompt(), PointPrompt(((100, 40),), on_object=(False,))))
    assert same(masks_of(ask(masker, only_off))[0], LEFT)


def test_a_rough_mask_is_one_object(masker: DrawnMasker) -> None:
    assert same(masks_of(ask(masker, MaskPrompt(rectangle(70, 20, 116, 90))))[0], RIGHT)
    dot = np.zeros(SIZE_HW, dtype=np.bool_)
    dot[78, 58] = True
    assert same(masks_of(ask(masker, MaskPrompt(dot)))[0], SMALL)


class TestScribbles:
    @staticmethod
    def curve(size_hw: tuple[int, int], width: float) -> Mask:
        height, length = size_hw
        y, x = np.mgrid[:height, :length] + 0.5
        middle = height / 2 + height / 4 * np.sin(x / length * 6)
        drawn: Mask = (np.abs(y - middle) < width / 2) & (x > length * 0.1) & (x < length * 0.9)
        return drawn

    @pytest.mark.parametrize(
        ("size_hw", "width"), [((300, 400), 3), ((300, 400), 8), ((3000, 2000), 30), ((60, 80), 1)]
    )
    def test_points_lie_on_the_line_and_far_from_each_other(self, size_hw: tuple[int, int], width: float) -> None:
        line = self.curve(size_hw, width)
        points = scribble_points(line)
        assert points is not None
        assert 2 <= len(points) <= MAX_POINTS
        assert all(line[int(y), int(x)] for x, y in points)
        gaps = [np.hypot(ax - bx, ay - by) for i, (ax, ay) in enumerate(points) for bx, by in points[:i]]
        assert min(gaps) > 0.04 * max(size_hw)

    @pytest.mark.parametrize("mask", [LEFT, SMALL, rectangle(0, 0, 128, 96), rectangle(3, 3, 4, 4)])
    def test_what_is_thick_or_short_is_a_rough_mask(self, mask: Mask) -> None:
        assert scribble_points(mask) is None

    def test_a_scribble_shows_its_object(self, masker: DrawnMasker) -> None:
        scribble = MaskPrompt(rectangle(76, 40, 116, 42))
        assert same(masks_of(ask(masker, scribble))[0], RIGHT)
        geometric = read_geometric_prompts(Query("it", (scribble,)), SIZE_HW)
        assert geometric is not None
        assert not geometric.masks
        assert geometric.on_object.all()
        assert masker.calls == [(1, "single")]


class TestAnyMasker:
    """What holds for a SAM with random weights."""

    ITEMS = (
        ON_LEFT,
        Query("box", (AROUND_LEFT, ON_RIGHT)),
        MaskPrompt(RIGHT),
        ON_RIGHT,
        PointPrompt(((20, 30), (90, 50)), on_object=(True, False)),
    )

    def test_no_query_touches_another(self, random_segmenter: InteractiveSegmenter, random_image: SamEmbedding) -> None:
        queries = to_queries(self.ITEMS)
        together = random_segmenter.segment(random_image, queries)
        assert together.mask_logits.shape == (5, 24, 32)
        assert [len(found or ()) for found in together.instances or ()] == [1, 2, 1, 1, 1]
        order = [3, 1, 4, 0, 2]
        shuffled = random_segmenter.segment(random_image, [queries[index] for index in order])
        np.testing.assert_allclose(shuffled.mask_logits, together.mask_logits[order], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(shuffled.mask_quality, together.mask_quality[order], rtol=1e-4, atol=1e-4)
        for index, query in enumerate(queries):
            alone = random_segmenter.segment(random_image, [query])
            np.testing.assert_allclose(alone.mask_logits[0], together.mask_logits[index], rtol=1e-4, atol=1e-4)

    def test_the_first_candidate_is_the_answer(
        self, random_segmenter: InteractiveSegmenter, random_image: SamEmbedding
    ) -> None:
        (query,) = to_queries(ON_LEFT)
        answer = random_segmenter.segment(random_image, [query])
        proposed = random_segmenter.propose(random_image, query)
        np.testing.assert_allclose(proposed.mask_logits[0], answer.mask_logits[0])
        assert proposed.mask_quality.tolist() == sorted(proposed.mask_quality.tolist(), reverse=True)

    def test_arrays_make_the_image_again(
        self, random_segmenter: InteractiveSegmenter, random_image: SamEmbedding
    ) -> None:
        again = random_segmenter.restore_image(random_image.to_arrays(), IMAGE)
        found, before = (random_segmenter.segment(each, to_queries(self.ITEMS)) for each in (again, random_image))
        np.testing.assert_array_equal(found.mask_logits, before.mask_logits)

    def test_a_compact_part_is_half_as_large_and_gives_nearly_the_same(
        self, random_segmenter: InteractiveSegmenter
    ) -> None:
        full, compact = (random_segmenter.encode_part(IMAGE, compact=compact) for compact in (False, True))
        sizes = [sum(array.nbytes for array in each.features) for each in (full, compact)]
        assert sizes[0] == 2 * sizes[1]
        expected, found = (random_segmenter.segment(each, to_queries(self.ITEMS)) for each in (full, compact))
        np.testing.assert_allclose(found.mask_quality, expected.mask_quality, atol=1e-2)

    @pytest.mark.parametrize("size_hw", [(1, 1), (1, 900), (900, 1)])
    def test_extreme_images_go_through(self, random_segmenter: InteractiveSegmenter, size_hw: tuple[int, int]) -> None:
        encoded = random_segmenter.encode_image(np.full((*size_hw, 3), 99, dtype=np.uint8))
        items = (PointPrompt(((0, 0),)), BoxPrompt((0, 0, 1, 1)), MaskPrompt(np.ones(size_hw, dtype=np.bool_)))
        found = random_segmenter.segment(encoded, to_queries(items))
        assert all(each is not None and each[0].mask.shape == size_hw for each in found.instances or ())


def test_a_config_builds_the_segmenter_of_its_sam() -> None:
    segmenter = build(InteractiveConfig("sam-test", input_side=64), None, LoadOptions(Runtime("torch")))
    encoded = segmenter.encode_image(IMAGE)
    assert encoded.frame.canvas_hw == (64, 64)
    assert segmenter.segment(encoded, to_queries(ON_LEFT)).presence.tolist() == [1.0]


def test_mirrored_clicks_give_mirrored_masks() -> None:
    mirrored = DrawnMasker([mask[:, ::-1] for mask in (LEFT, RIGHT, SMALL)])
    items = (PointPrompt(((128 - 20, 30),)), BoxPrompt((128 - 122, 14, 128 - 70, 82)), MaskPrompt(SMALL[:, ::-1]))
    for mask, known in zip(masks_of(ask(mirrored, *items)), (LEFT, RIGHT, SMALL), strict=True):
        assert same(mask[:, ::-1], known)


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        (PointPrompt(((128.5, 3),)), r"the point \(128.5, 3\) of 'it' is outside the image, 128x96"),
        (PointPrompt(((3, 4), (5, -1))), r"the point \(5, -1\) of 'it' is outside"),
        (BoxPrompt((130, 0, 140, 10)), r"the box \(130, 0, 140, 10\) of 'it' is outside the image, 128x96"),
        (BoxPrompt((100, 0, 129.5, 10)), "of 'it' is partly outside the image, 128x96: give pixels of this image"),
        (BoxPrompt((-2, 0, 30, 10)), "of 'it' is partly outside the image"),
        (MaskPrompt(np.ones((96, 127), dtype=np.bool_)), "the mask of 'it' is 127x96 pixels, the image 128x96"),
        (PointPrompt(((3, 4),), on_object=(False,)), "'it' only says where the object is not: add a point on it"),
    ],
)
def test_prompts_that_mean_nothing_here_are_named(masker: DrawnMasker, prompt: PointPrompt, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        ask(masker, Query("it", (prompt,)))


def test_a_box_may_reach_a_pixel_beyond_the_image(masker: DrawnMasker) -> None:
    assert len(ask(masker, BoxPrompt((-1, -0.5, 60, 97)), BoxPrompt((100, 10, 129, 60))).presence) == 2


@pytest.mark.parametrize(
    "logits", [np.full((4, 4), np.nan, np.float32), np.zeros((4, 4), np.int64), np.zeros(4, np.float32)]
)
def test_logits_that_are_no_map_are_refused(logits: np.ndarray) -> None:
    with pytest.raises(PromptError, match="a mask's logits are finite floats"):
        MaskPrompt(LEFT, logits)


def test_an_empty_answer_can_not_be_corrected() -> None:
    absent = QueryResult("it", 0.1, np.ones((24, 32), np.float32), SIZE_HW, 0.5, 0.5)
    with pytest.raises(PromptError, match="the mask is empty"):
        absent.as_prompt()


def test_an_answer_says_where_its_edge_is() -> None:
    logits = np.full((24, 32), 0.2, np.float32)
    logits[:, :16] = 3.0
    prompt = QueryResult("it", 1.0, logits, SIZE_HW, 0.5, 0.7).as_prompt()
    assert prompt.logits is not None
    assert ((prompt.logits > 0) == (logits > 1)).all()


class TestPredictor:
    """A SAM by its name, through the public flow."""

    @pytest.fixture
    def predictor(self) -> promptseg.Predictor:
        return promptseg.load("sam-test", engine="torch")

    def test_candidates_are_results(self, predictor: promptseg.Predictor) -> None:
        photo = predictor.encode(np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3), dtype=np.uint8))
        found = predictor.propose(photo, ON_LEFT)
        assert len(found) == 3
        qualities = [each.instances[0].mask_quality or 0.0 for each in found if each.instances]
        assert qualities == sorted(qualities, reverse=True)
        (answer,) = predictor.segment(photo, ON_LEFT)
        assert (answer.label, answer.presence, answer.is_present) == ("point", 1.0, True)
        np.testing.assert_allclose(answer.mask_logits, found[0].mask_logits, atol=1e-5)

    def test_what_it_does_not_take_is_named_with_those_who_do(self, predictor: promptseg.Predictor) -> None:
        with pytest.raises(UnsupportedPromptError, match=r"no text prompts \(query 'cat'\); models that do:"):
            predictor.segment(IMAGE, "cat")
        words = promptseg.load("promptseg-test", engine="torch")
        with pytest.raises(UnsupportedPromptError, match=r"no box prompts .* promptseg, mobile-sam, sam2"):
            words.segment(IMAGE, AROUND_LEFT)
        with pytest.raises(UnsupportedPromptError, match="no candidates for text"):
            words.propose(IMAGE, "cat")

    def test_it_has_nothing_to_save(self, predictor: promptseg.Predictor, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="nothing of its own to save"):
            predictor.save_pretrained(tmp_path)

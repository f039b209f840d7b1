"""Words propose, clicks correct: which of the proposed objects stay, which come, which go."""

from collections.abc import Sequence

import numpy as np
import pytest
from drawn_coarse import DrawnCoarse
from drawn_masker import SIZE_HW, DrawnMasker, Mask, rectangle, same

from promptseg import BoxPrompt, MaskPrompt, PointPrompt, Query, TextPrompt
from promptseg.errors import PromptError
from promptseg.models.promptseg.pipeline import PromptSegPipeline
from promptseg.ops.masks import mask_iou
from promptseg.prompts import Prompt
from promptseg.results import QueryResult

LEFT, RIGHT, MISSED = rectangle(8, 8, 48, 64), rectangle(72, 16, 120, 56), rectangle(76, 68, 120, 92)
PART = rectangle(8, 48, 48, 64)  # of the left one
IMAGE = np.zeros((*SIZE_HW, 3), dtype=np.uint8)
ON_LEFT, ON_RIGHT, ON_MISSED = PointPrompt(((20, 20),)), PointPrompt(((100, 40),)), PointPrompt(((100, 80),))


@pytest.fixture
def coarse() -> DrawnCoarse:
    """Finds both of "two", half a cell off, and no unicorn."""
    return DrawnCoarse(lambda text: LEFT | RIGHT, presence={"unicorn": 0.2}, shift=2)


@pytest.fixture
def sam() -> DrawnMasker:
    return DrawnMasker([LEFT, RIGHT, MISSED, PART])


@pytest.fixture
def segmenter(coarse: DrawnCoarse, sam: DrawnMasker) -> PromptSegPipeline:
    return PromptSegPipeline(coarse, sam)  # type: ignore[arg-type]


def answer(segmenter: PromptSegPipeline, *prompts: Prompt, text: str = "two") -> QueryResult:
    return answers(segmenter, [Query("it", (TextPrompt(text), *prompts))])[0]


def answers(segmenter: PromptSegPipeline, queries: Sequence[Query]) -> list[QueryResult]:
    found = segmenter.segment(segmenter.encode_image(IMAGE), queries)
    rows = zip(queries, found.presence.tolist(), found.mask_logits, found.instances or (), strict=True)
    return [QueryResult(query.label, *row[:2], SIZE_HW, 0.5, 0.7, row[2]) for query, *row in rows]


def test_words_alone_give_all_their_objects(segmenter: PromptSegPipeline) -> None:
    found = answer(segmenter)
    assert same(found.mask, LEFT | RIGHT)
    assert len(found.instances) == 2
    assert found.presence == pytest.approx(0.9)


@pytest.mark.parametrize(
    "prompts",
    [
        (ON_RIGHT,),
        (PointPrompt(((80, 20), (112, 50))),),
        (BoxPrompt((70, 14, 122, 58)),),
        (MaskPrompt(rectangle(74, 30, 118, 32)),),
    ],
    ids=["point", "points", "box", "scribble"],
)
def test_what_shows_one_object_chooses_it(segmenter: PromptSegPipeline, prompts: tuple[Prompt, ...]) -> None:
    found = answer(segmenter, *prompts)
    assert same(found.mask, RIGHT)
    (instance,) = found.instances
    assert (instance.score, instance.mask_quality) == (1, pytest.approx(0.8))
    assert found.presence == 1


def test_several_are_chosen_and_more_are_added(segmenter: PromptSegPipeline) -> None:
    assert same(answer(segmenter, ON_LEFT, ON_RIGHT).mask, LEFT | RIGHT)
    chosen_and_added = answer(segmenter, ON_LEFT, ON_MISSED)
    assert same(chosen_and_added.mask, LEFT | MISSED)
    assert len(chosen_and_added.instances) == 2


@pytest.mark.parametrize("prompt", [ON_MISSED, BoxPrompt((74, 66, 122, 94))], ids=["point", "box"])
def test_where_the_words_missed_one_it_is_added(segmenter: PromptSegPipeline, prompt: Prompt) -> None:
    found = answer(segmenter, prompt)
    assert same(found.mask, LEFT | RIGHT | MISSED)
    assert len(found.instances) == 3


def test_a_click_beside_the_object_takes_an_object_away(segmenter: PromptSegPipeline) -> None:
    found = answer(segmenter, PointPrompt(((100, 40),), on_object=(False,)))
    assert same(found.mask, LEFT)
    assert found.presence == pytest.approx(0.9)
    nothing = answer(segmenter, PointPrompt(((100, 40), (20, 20)), on_object=(False, False)))
    assert not nothing.mask.any()
    assert nothing.presence == 0
    assert nothing.instances == ()


def test_or_only_the_part_that_sam_finds_there(coarse: DrawnCoarse) -> None:
    segmenter = PromptSegPipeline(coarse, DrawnMasker([PART, RIGHT]))  # type: ignore[arg-type]
    found = answer(segmenter, PointPrompt(((20, 56),), on_object=(False,)))
    assert not found.mask[50:62, 12:44].any()
    assert mask_iou(found.mask, (LEFT & ~PART) | RIGHT) > 0.85


def test_a_click_on_nothing_takes_nothing_away(segmenter: PromptSegPipeline) -> None:
    assert same(answer(segmenter, PointPrompt(((60, 90),), on_object=(False,))).mask, LEFT | RIGHT)


def test_a_mask_restricts_the_words(segmenter: PromptSegPipeline) -> None:
    assert same(answer(segmenter, MaskPrompt(rectangle(60, 4, 128, 60))).mask, RIGHT)
    assert same(answer(segmenter, MaskPrompt(rectangle(72, 64, 124, 96))).mask, MISSED)


def test_an_earlier_answer_stands_instead_of_the_words(segmenter: PromptSegPipeline) -> None:
    one = answer(segmenter, ON_RIGHT)
    assert same(answer(segmenter, one.as_prompt()).mask, RIGHT)
    assert same(answer(segmenter, one.as_prompt(), ON_MISSED).mask, RIGHT | MISSED)


def test_what_the_words_do_not_find_is_where_the_click_is(segmenter: PromptSegPipeline) -> None:
    assert answer(segmenter, text="unicorn").presence == pytest.approx(0.2)
    found = answer(segmenter, ON_MISSED, text="unicorn")
    assert same(found.mask, MISSED)
    assert found.presence == 1


def test_queries_of_all_kinds_do_not_touch_each_other(segmenter: PromptSegPipeline) -> None:
    two = TextPrompt("two")
    off_right = PointPrompt(((100, 40),), on_object=(False,))
    queries = [
        Query("words", (two,)),
        Query("click", (ON_MISSED,)),
        Query("both", (two, ON_LEFT)),
        Query("box", (BoxPrompt((70, 14, 122, 58)),)),
        Query("without", (two, off_right)),
        Query("absent", (TextPrompt("unicorn"),)),
    ]
    together = answers(segmenter, queries)
    assert [each.label for each in together] == [query.label for query in queries]
    for order in ([5, 4, 3, 2, 1, 0], [2, 0, 1], [1]):
        for index, found in zip(order, answers(segmenter, [queries[index] for index in order]), strict=True):
            np.testing.assert_allclose(found.mask_logits, together[index].mask_logits, atol=1e-4)
            assert (found.mask == together[index].mask).all()


def test_clicks_alone_do_not_run_the_network(
    segmenter: PromptSegPipeline, coarse: DrawnCoarse, sam: DrawnMasker
) -> None:
    found = answers(segmenter, [Query("it", (ON_LEFT,)), Query("other", (ON_MISSED,))])
    assert all(same(each.mask, known) for each, known in zip(found, (LEFT, MISSED), strict=True))
    assert coarse.calls == []
    assert sam.calls == [(2, "levels")]


def test_candidates_keep_the_threshold(segmenter: PromptSegPipeline) -> None:
    found = segmenter.propose(segmenter.encode_image(IMAGE), Query("it", (ON_LEFT,)))
    result = QueryResult("it", 1.0, found.mask_logits[0], SIZE_HW, 0.5, segmenter.mask_threshold)
    mask: Mask = result.mask
    assert same(mask, LEFT)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query("it", (TextPrompt("two"), PointPrompt(((500, 20),)))), "outside"),
        (Query("it", (PointPrompt(((20, 20),), on_object=(False,)),)), "'it' only says where the object is not"),
    ],
)
def test_what_points_nowhere_is_refused(segmenter: PromptSegPipeline, query: Query, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        segmenter.segment(segmenter.encode_image(IMAGE), [query])

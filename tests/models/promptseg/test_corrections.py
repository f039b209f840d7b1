"""Words propose, clicks correct: which of the proposed objects stay, which come, which go."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn_masker import SIZE_HW, DrawnMasker, Mask, iou, rectangle, same

from promptseg import BoxPrompt, MaskPrompt, PointPrompt, Query, TextPrompt
from promptseg.models.promptseg.pipeline import RefinedSegmenter
from promptseg.prompts import Prompt
from promptseg.results import QueryResult
from promptseg.segmenter import Features, Prediction, single_texts

LEFT, RIGHT, MISSED = rectangle(8, 8, 48, 64), rectangle(72, 16, 120, 56), rectangle(76, 68, 120, 92)
PART = rectangle(8, 48, 48, 64)  # of the left one
IMAGE = np.zeros((*SIZE_HW, 3), dtype=np.uint8)
ON_LEFT, ON_RIGHT, ON_MISSED = PointPrompt(((20, 20),)), PointPrompt(((100, 40),)), PointPrompt(((100, 80),))


class DrawnTexts:
    """Says where "two" is, half a cell off and unsure at the edges, and that "unicorn" is not there."""

    prompt_kinds = frozenset({"text"})
    mask_threshold = 0.7
    presence_threshold = 0.5

    def __init__(self) -> None:
        self.num_asked = 0

    def encode_image(self, image_rgb: np.ndarray) -> Features:
        return {"nothing": torch.zeros(1, 1)}

    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        self.num_asked += len(queries)
        drawn = np.stack([LEFT | RIGHT] * len(queries)) if queries else np.zeros((0, *SIZE_HW), dtype=np.bool_)
        cells = F.interpolate(torch.from_numpy(np.roll(drawn, 2, axis=2)).float()[:, None], (24, 32), mode="area")[:, 0]
        presence = torch.tensor([0.2 if text == "unicorn" else 0.9 for text in single_texts(queries)])
        return Prediction(cells.clamp(0.05, 0.95).logit(), presence, presence)


@pytest.fixture
def segmenter() -> RefinedSegmenter:
    return RefinedSegmenter(DrawnTexts(), DrawnMasker([LEFT, RIGHT, MISSED, PART]))


def answer(segmenter: RefinedSegmenter, *prompts: Prompt, text: str = "two") -> QueryResult:
    return answers(segmenter, [Query("it", (TextPrompt(text), *prompts))])[0]


def answers(segmenter: RefinedSegmenter, queries: Sequence[Query]) -> list[QueryResult]:
    found = segmenter.segment(segmenter.encode_image(IMAGE), queries, SIZE_HW)
    rows = zip(queries, found.presence.tolist(), found.mask_logits.numpy(), found.instances or (), strict=True)
    return [QueryResult(query.label, *row[:2], SIZE_HW, 0.5, 0.7, row[2]) for query, *row in rows]


def test_words_alone_give_all_their_objects(segmenter: RefinedSegmenter) -> None:
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
def test_what_shows_one_object_chooses_it(segmenter: RefinedSegmenter, prompts: tuple[Prompt, ...]) -> None:
    found = answer(segmenter, *prompts)
    assert same(found.mask, RIGHT)
    assert [each.score for each in found.instances] == pytest.approx([0.8])
    assert found.presence == 1


def test_several_are_chosen_and_more_are_added(segmenter: RefinedSegmenter) -> None:
    assert same(answer(segmenter, ON_LEFT, ON_RIGHT).mask, LEFT | RIGHT)
    chosen_and_added = answer(segmenter, ON_LEFT, ON_MISSED)
    assert same(chosen_and_added.mask, LEFT | MISSED)
    assert len(chosen_and_added.instances) == 2


@pytest.mark.parametrize("prompt", [ON_MISSED, BoxPrompt((74, 66, 122, 94))], ids=["point", "box"])
def test_where_the_words_missed_one_it_is_added(segmenter: RefinedSegmenter, prompt: Prompt) -> None:
    found = answer(segmenter, prompt)
    assert same(found.mask, LEFT | RIGHT | MISSED)
    assert len(found.instances) == 3


def test_a_click_beside_the_object_takes_an_object_away(segmenter: RefinedSegmenter) -> None:
    found = answer(segmenter, PointPrompt(((100, 40),), on_object=(False,)))
    assert same(found.mask, LEFT)
    assert found.presence == pytest.approx(0.9)
    nothing = answer(segmenter, PointPrompt(((100, 40), (20, 20)), on_object=(False, False)))
    assert not nothing.mask.any()
    assert nothing.presence == 0
    assert nothing.instances == ()


def test_or_only_the_part_that_the_masker_sees_there() -> None:
    segmenter = RefinedSegmenter(DrawnTexts(), DrawnMasker([PART, RIGHT]))
    found = answer(segmenter, PointPrompt(((20, 56),), on_object=(False,)))
    assert not found.mask[50:62, 12:44].any()
    assert iou(found.mask, (LEFT & ~PART) | RIGHT) > 0.85


def test_a_click_on_nothing_takes_nothing_away(segmenter: RefinedSegmenter) -> None:
    assert same(answer(segmenter, PointPrompt(((60, 90),), on_object=(False,))).mask, LEFT | RIGHT)


def test_a_mask_restricts_the_words(segmenter: RefinedSegmenter) -> None:
    assert same(answer(segmenter, MaskPrompt(rectangle(60, 4, 128, 60))).mask, RIGHT)
    assert same(answer(segmenter, MaskPrompt(rectangle(72, 64, 124, 96))).mask, MISSED)


def test_an_earlier_answer_stands_instead_of_the_words(segmenter: RefinedSegmenter) -> None:
    one = answer(segmenter, ON_RIGHT)
    assert same(answer(segmenter, one.as_prompt()).mask, RIGHT)
    assert same(answer(segmenter, one.as_prompt(), ON_MISSED).mask, RIGHT | MISSED)


def test_what_the_words_do_not_find_is_where_the_click_is(segmenter: RefinedSegmenter) -> None:
    assert answer(segmenter, text="unicorn").presence == pytest.approx(0.2)
    found = answer(segmenter, ON_MISSED, text="unicorn")
    assert same(found.mask, MISSED)
    assert found.presence == 1


def test_queries_of_all_kinds_do_not_touch_each_other(segmenter: RefinedSegmenter) -> None:
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


def test_clicks_alone_do_not_ask_for_words(segmenter: RefinedSegmenter) -> None:
    found = answers(segmenter, [Query("it", (ON_LEFT,)), Query("other", (ON_MISSED,))])
    assert all(same(each.mask, known) for each, known in zip(found, (LEFT, MISSED), strict=True))
    assert isinstance(segmenter.segmenter, DrawnTexts)
    assert segmenter.segmenter.num_asked == 0
    assert isinstance(segmenter.masker, DrawnMasker)
    assert segmenter.masker.calls == [(2, "levels")]


def test_candidates_keep_the_threshold(segmenter: RefinedSegmenter) -> None:
    found = segmenter.propose(segmenter.encode_image(IMAGE), Query("it", (ON_LEFT,)), SIZE_HW)
    result = QueryResult("it", 1.0, found.mask_logits[0].numpy(), SIZE_HW, 0.5, segmenter.mask_threshold)
    mask: Mask = result.mask
    assert same(mask, LEFT)

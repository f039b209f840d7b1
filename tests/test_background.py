"""The query "background" is the rest of the image."""

import numpy as np
import pytest

from promptseg.errors import PromptError
from promptseg.prompts import Query, TextPrompt, to_queries
from promptseg.results import QueryResult
from promptseg.results.background import add_background, find_objects, is_background


def result(label: str, presence: float, columns: slice) -> QueryResult:
    logits = np.full((4, 6), -3, dtype=np.float32)
    logits[:, columns] = 3
    return QueryResult(label, presence, logits, (40, 60), 0.5, 0.5)


@pytest.mark.parametrize("text", ["background", "The Background.", "everything else", "the rest of the image"])
def test_phrases_of_the_rest(text: str) -> None:
    assert is_background(Query("mine", (TextPrompt(text),)))


@pytest.mark.parametrize("text", ["the man in the background", "blue background", "wall"])
def test_other_phrases(text: str) -> None:
    assert not is_background(Query(text, (TextPrompt(text),)))


def test_the_background_is_all_but_the_objects_that_are_there() -> None:
    queries = to_queries(["background", "cat", "dog", "everything else", "absent"])
    assert [query.label for query in find_objects(queries)] == ["cat", "dog", "absent"]
    objects = [result("cat", 0.9, slice(0, 2)), result("dog", 0.8, slice(1, 3)), result("absent", 0.1, slice(0, 6))]
    answers = add_background(queries, objects, presence_threshold=0.5, mask_threshold=0.5)
    assert [answer.label for answer in answers] == ["background", "cat", "dog", "everything else", "absent"]
    assert answers[1:3] == (objects[0], objects[1])
    for rest in (answers[0], answers[3]):
        np.testing.assert_array_equal(rest.mask, ~(objects[0].mask | objects[1].mask))
        assert rest.presence == 1.0 and len(rest.instances) == 1
        assert (rest.probability[:, :10] < 0.5).all() and (rest.probability[:, -20:] > 0.5).all()


def test_no_background_where_objects_cover_the_image_and_all_of_it_where_none_is_there() -> None:
    queries = to_queries(["wall", "background"])
    _, rest = add_background(queries, [result("wall", 0.9, slice(0, 6))], presence_threshold=0.5, mask_threshold=0.5)
    assert not rest.is_present and rest.instances == ()
    _, rest = add_background(queries, [result("wall", 0.2, slice(0, 6))], presence_threshold=0.5, mask_threshold=0.5)
    assert rest.mask.all()


def test_a_background_alone_is_refused() -> None:
    with pytest.raises(PromptError, match="name what stands before it too"):
        find_objects(to_queries("background"))

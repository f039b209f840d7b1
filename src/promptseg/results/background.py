"""The query "background": everything in an image but the objects of the other queries of the request."""

import re
from collections.abc import Sequence

import numpy as np

from promptseg.errors import PromptError
from promptseg.language.phrases import normalize_phrase, without_article
from promptseg.prompts import Query, TextPrompt
from promptseg.results.instance import Instance
from promptseg.results.query_result import QueryResult

_IMAGE = r"(?: of (?:the |this )?(?:image|picture|photo|scene))?"
_BACKGROUND = re.compile(
    rf"(?:(?:image|picture|photo) )?background{_IMAGE}|(?:everything|anything|something|all) else|rest{_IMAGE}"
)


def is_background(query: Query) -> bool:
    """Whether a query is one phrase that means the rest of the image, such as "background" or "everything else"."""
    match query.prompts:
        case (TextPrompt(text=text),):
            return _BACKGROUND.fullmatch(without_article(normalize_phrase(text))) is not None
        case _:
            return False


def find_objects(queries: Sequence[Query]) -> tuple[Query, ...]:
    """Give the queries that a model is to segment: all but those of the background.

    Raises:
        PromptError: All queries are of the background, so that nothing says what stands before it.
    """
    objects = tuple(query for query in queries if not is_background(query))
    if queries and not objects:
        raise PromptError(
            f"{queries[0].label!r} means everything but the objects of the other phrases, and there is no other: name "
            "what stands before it too, such as --text person --text background"
        )
    return objects


def add_background(
    queries: Sequence[Query],
    objects: Sequence[QueryResult],
    *,
    presence_threshold: float,
    mask_threshold: float,
) -> tuple[QueryResult, ...]:
    """Insert the results of the background.

    Args:
        queries: Of the request.
        objects: The results of `find_objects(queries)`, one or more of the same image.
        presence_threshold: As `QueryResult`.
        mask_threshold: As `QueryResult`.

    Returns:
        One result for each query, in order. The background is where no object has its mask, be the model sure of it
        or not: one instance of presence 1, or presence 0 where objects cover the image.
    """
    if len(objects) == len(queries):
        return tuple(objects)
    rest = ~np.logical_or.reduce([result.mask for result in objects])
    # sigmoid(-x) is 1 - sigmoid(x); an absent object leaves the whole image to the background.
    logits = -np.maximum.reduce(
        [
            np.full_like(result.mask_logits, -20.0) if result.status == "absent" else result.mask_logits
            for result in objects
        ]
    )
    presence = float(rest.any())
    instances = (Instance.from_mask(rest, presence),) if presence else ()
    remaining = iter(objects)
    return tuple(
        QueryResult(query.label, presence, logits, rest.shape, presence_threshold, mask_threshold, instances)
        if is_background(query)
        else next(remaining)
        for query in queries
    )

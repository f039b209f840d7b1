"""What can be checked of a request without an image: its form, its kinds of prompt, the language of its phrases."""

import warnings
from collections.abc import Collection, Iterable

from promptseg.errors import LanguageWarning, UnsupportedPromptError
from promptseg.language.foreign import find_foreign_script
from promptseg.language.negation import find_negation, means_everything
from promptseg.prompts import Query, QueryLike, TextPrompt, to_queries
from promptseg.results.background import find_objects


def check_queries(
    queries: QueryLike | Iterable[QueryLike], *, model: str, prompt_kinds: Collection[str]
) -> tuple[Query, ...]:
    """Check a request; phrases that the models can't understand cause a `LanguageWarning`.

    Args:
        queries: As `Predictor.segment` takes them.
        model: Name of the model.
        prompt_kinds: Kinds of prompt that the model takes, such as "text".

    Returns:
        The queries, in order.

    Raises:
        PromptError: The request is malformed or of the background alone.
        UnsupportedPromptError: The model does not take a kind of prompt.
    """
    requested = to_queries(queries)
    for query in find_objects(requested):
        check_kinds(query, model=model, prompt_kinds=prompt_kinds)
    _warn_of_phrases(requested)
    return requested


def check_kinds(query: Query, *, model: str, prompt_kinds: Collection[str]) -> None:
    """Check that a model takes the prompts of a query.

    Raises:
        UnsupportedPromptError: It does not; the message names models that do.
    """
    for prompt in query.prompts:
        if prompt.kind not in prompt_kinds:
            # here and not above: a client of a server needs the table for this message only
            from promptseg.models.table import MODELS

            takers = [
                row.name
                for row in MODELS.values()
                if prompt.kind in row.prompt_kinds and row.status in ("shipped", "published")
            ]
            raise UnsupportedPromptError(
                f"{model} takes {' and '.join(sorted(prompt_kinds))} prompts, no {prompt.kind} prompts "
                f"(query {query.label!r}); models that do: {', '.join(takers) or 'none yet'}"
            )


def _warn_of_phrases(queries: Iterable[Query]) -> None:
    """Warn of phrases that the models can't understand: not in English, negated, or of everything."""
    texts = [prompt.text for query in queries for prompt in query.prompts if isinstance(prompt, TextPrompt)]
    for describe in (_describe_script, _describe_negation, _describe_everything):
        described = [(text, what) for text in texts if (what := describe(text)) is not None]
        if described:
            text, what = described[0]
            more = f" (and {len(described) - 1} more)" if len(described) > 1 else ""
            warnings.warn(f"the phrase {text!r}{more} {what}", LanguageWarning, stacklevel=5)


def _describe_script(text: str) -> str | None:
    if text.isascii() or (script := find_foreign_script(text)) is None:
        return None
    return (
        f"is in {script} letters, and the model was trained on English: its answer says little; ask in English, and "
        f"keep your own label with Query({text!r}, TextPrompt('...'))"
    )


def _describe_negation(text: str) -> str | None:
    if (word := find_negation(text)) is None:
        return None
    return (
        f"says what is not meant ({word!r}), and the model finds what is named: ask for what is meant; inverted() and "
        "--invert give everything else, and a TextPrompt of weight -1 beside another one takes a look-alike away"
    )


def _describe_everything(text: str) -> str | None:
    if not means_everything(text):
        return None
    return (
        "names no kind of object: name kinds, or find every object with segment_everything (promptseg "
        "segment-everything)"
    )

"""What can be checked of a request without an image: its form, its kinds of prompt, the script of its phrases."""

import warnings
from collections.abc import Collection, Iterable

from promptseg.errors import LanguageWarning, UnsupportedPromptError
from promptseg.language.foreign import find_foreign_script
from promptseg.prompts import Query, QueryLike, TextPrompt, to_queries
from promptseg.results.background import find_objects


def check_queries(
    queries: QueryLike | Iterable[QueryLike], *, model: str, prompt_kinds: Collection[str]
) -> tuple[Query, ...]:
    """Check a request; phrases in a script that is not Latin cause a `LanguageWarning`.

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
    _warn_of_scripts(requested)
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


def _warn_of_scripts(queries: Iterable[Query]) -> None:
    """Warn of phrases that are not in English, as far as their letters tell."""
    texts = (prompt.text for query in queries for prompt in query.prompts if isinstance(prompt, TextPrompt))
    if foreign := {text: script for text in texts if not text.isascii() and (script := find_foreign_script(text))}:
        text, script = next(iter(foreign.items()))
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        warnings.warn(
            f"the phrase {text!r}{more} is in {script} letters, and the model was trained on English: its answer says "
            f"little; ask in English, and keep your own label with Query({text!r}, TextPrompt('...'))",
            LanguageWarning,
            stacklevel=5,
        )

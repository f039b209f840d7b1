"""Check a request without an image: whether a model takes its prompts, and was trained on their language."""

import warnings
from collections.abc import Iterable

from promptseg.errors import LanguageWarning, UnsupportedPromptError
from promptseg.language.foreign import find_foreign_script
from promptseg.models.table import MODELS
from promptseg.prompts import Query, TextPrompt


def check_kinds(model: str, prompt_kinds: frozenset[str], query: Query) -> None:
    """Check that a model takes every kind of prompt of a query.

    Args:
        model: Its name, for the message.
        prompt_kinds: The kinds that it takes, such as "text".
        query: The query.

    Raises:
        UnsupportedPromptError: It does not; the message names models that do.
    """
    for prompt in query.prompts:
        if prompt.kind not in prompt_kinds:
            takers = [
                row.name
                for row in MODELS.values()
                if prompt.kind in row.prompt_kinds and row.status in ("shipped", "published")
            ]
            raise UnsupportedPromptError(
                f"{model} takes {' and '.join(sorted(prompt_kinds))} prompts, no {prompt.kind} prompts "
                f"(query {query.label!r}); models that do: {', '.join(takers) or 'none yet'}"
            )


def warn_of_scripts(queries: Iterable[Query]) -> None:
    """Warn of phrases that are not in English, as far as their letters tell."""
    texts = (prompt.text for query in queries for prompt in query.prompts if isinstance(prompt, TextPrompt))
    if foreign := {text: script for text in texts if not text.isascii() and (script := find_foreign_script(text))}:
        text, script = next(iter(foreign.items()))
        more = f" (and {len(foreign) - 1} more)" if len(foreign) > 1 else ""
        warnings.warn(
            f"the phrase {text!r}{more} is in {script} letters, and the model was trained on English: its answer says "
            f"little; ask in English, and keep your own label with Query({text!r}, TextPrompt('...'))",
            LanguageWarning,
            stacklevel=4,
        )

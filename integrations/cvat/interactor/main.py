"""What nuclio calls."""

from typing import Any

import promptseg
from promptseg.cvat.serverless import interactor


def init_context(context: Any) -> None:
    """Load the model once."""
    context.user_data.answer = interactor(promptseg.load())


def handler(context: Any, event: Any) -> Any:
    """Answer an event."""
    return context.user_data.answer(context, event)

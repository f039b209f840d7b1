"""What nuclio calls; LABELS is that of function.yaml."""

import os
from typing import Any

import promptseg
from promptseg.cvat.codes import read_labels
from promptseg.cvat.serverless import detector


def init_context(context: Any) -> None:
    """Load the model once."""
    context.user_data.answer = detector(promptseg.load(), read_labels(os.environ["LABELS"]))


def handler(context: Any, event: Any) -> Any:
    """Answer an event."""
    return context.user_data.answer(context, event)

"""JSON bodies, and how the schema of the API describes errors."""

from typing import Any

from fastapi import Response
from pydantic import BaseModel

from promptseg.server.wire.answers import ErrorAnswer

# Of every router: an answer of 400 or more has one body.
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorAnswer, "description": "The request is refused; `code` says why."},
    "5XX": {"model": ErrorAnswer, "description": "The server can't answer now, or met a bug; `code` says which."},
}


def json_answer(answer: BaseModel, *, status: int = 200) -> Response:
    """Write an answer in the thread of the caller: a long one would hold up the event loop."""
    return Response(answer.model_dump_json(exclude_none=True), status_code=status, media_type="application/json")

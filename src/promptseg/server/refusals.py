"""Why a request is refused: one error class for the server's own reasons, and one table for the library's errors.

Each answer of 400 or more is `{"error": {"code", "message", "way_out"}}`; docs/serve.md lists the codes.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi.responses import JSONResponse

from promptseg.errors import (
    CheckpointError,
    EngineError,
    ImageError,
    ImageTooLargeError,
    OutsideImageError,
    PromptError,
    PromptsegError,
    UnsupportedPromptError,
    WeightsError,
)

RETRY_AFTER = {"Retry-After": "1"}


class RefusedRequest(PromptsegError):
    """A request that the server refuses for a reason of its own.

    Args:
        status: Of the answer.
        code: For programs.
        message: What is wrong, for people.
        way_out: What to do.
        headers: More headers of the answer.
    """

    def __init__(
        self, status: int, code: str, message: str, way_out: str, *, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.way_out = way_out
        self.headers = dict(headers or {})

    def answer(self) -> JSONResponse:
        """Give the answer to the request."""
        return error_answer(self.status, self.code, str(self), self.way_out, headers=self.headers)


@dataclass(frozen=True)
class _Refusal:
    """How an error of the library is answered: fields as those of `RefusedRequest`."""

    status: int
    code: str
    way_out: str


_REFUSALS: dict[type[PromptsegError], _Refusal] = {
    OutsideImageError: _Refusal(422, "outside_image", "give pixels of the upright image; size_hw is its size"),
    UnsupportedPromptError: _Refusal(422, "unsupported_prompt", "GET /v1/models lists the prompt kinds of each model"),
    PromptError: _Refusal(422, "invalid_prompt", "change the query that the message names"),
    ImageTooLargeError: _Refusal(413, "image_too_large", "make the image smaller; GET /v1/status states the limits"),
    ImageError: _Refusal(422, "unreadable_image", "send a JPEG or PNG file"),
    CheckpointError: _Refusal(500, "damaged_model", "load the model again, or another one"),
    EngineError: _Refusal(500, "engine_failed", "start the server with another --engine"),
    WeightsError: _Refusal(503, "model_failed", "fetch the weights with `promptseg weights pull`"),
}


def error_answer(
    status: int, code: str, message: str, way_out: str, *, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Make the body that every answer of 400 or more has."""
    error = {"code": code, "message": " ".join(message.split()), "way_out": way_out}
    return JSONResponse({"error": error}, status_code=status, headers=dict(headers or {}))


def answer_library_error(error: PromptsegError) -> JSONResponse:
    """Give the answer to a request that raised an error of the library: the nearest class in the table counts."""
    if isinstance(error, RefusedRequest):
        return error.answer()
    for kind in type(error).__mro__:
        if (refusal := _REFUSALS.get(kind)) is not None:
            return error_answer(refusal.status, refusal.code, str(error), refusal.way_out)
    return internal_error()


def internal_error() -> JSONResponse:
    """Give the answer to a request that met a bug; its message tells nothing of the inside."""
    return error_answer(
        500, "internal_error", "the server met an error that it did not expect", "its log holds the error: report it"
    )


def busy(message: str) -> RefusedRequest:
    """Refuse a request that came while too many others wait."""
    return RefusedRequest(503, "busy", message, "try again in a second", headers=RETRY_AFTER)

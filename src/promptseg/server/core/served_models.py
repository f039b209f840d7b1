"""The models of a server, and how far each is loaded."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from promptseg.errors import PromptError, PromptsegError
from promptseg.image_files import bundled_image
from promptseg.predictor import Predictor
from promptseg.prompts import BoxPrompt, TextPrompt
from promptseg.server.refusals import RETRY_AFTER, RefusedRequest
from promptseg.weights import ReportProgress

log = logging.getLogger(__name__)

State = Literal["loading", "ready", "failed"]


class LoadModel(Protocol):
    """Loads a model and says how far it is."""

    def __call__(self, *, progress: ReportProgress, report_compile: Callable[[str], None]) -> Predictor:
        """Load; the arguments are those of `promptseg.load`."""
        ...


@dataclass(frozen=True)
class ModelSource:
    """A model that the server loads while it already answers.

    Attributes:
        name: Its name in requests.
        load: Such as `functools.partial(promptseg.load, "promptseg")`.
    """

    name: str
    load: LoadModel


@dataclass(frozen=True)
class LoadProgress:
    """How far a model is.

    Attributes:
        state: "loading", "ready" or "failed".
        step: What is being done, for people; None: nothing.
        bytes_done: Of the file that is being fetched; None: none is.
        bytes_total: Likewise.
        message: Why it failed; None: it did not.
    """

    state: State
    step: str | None = None
    bytes_done: int | None = None
    bytes_total: int | None = None
    message: str | None = None


class ServedModel:
    """A model of a server.

    Args:
        source: Where it comes from: a loaded predictor, or how to load one.

    Attributes:
        name: Its name in requests.
        progress: How far it is.
        error: Why it could not be loaded; None: it was, or it is still loading.
    """

    def __init__(self, source: Predictor | ModelSource) -> None:
        self.name = source.name
        self._source = source
        self._predictor = source if isinstance(source, Predictor) else None
        self._started = time.monotonic()
        self._seconds: float | None = None if self._predictor is None else 0.0
        self.progress = LoadProgress("loading" if self._predictor is None else "ready")
        self.error: PromptsegError | None = None

    @property
    def predictor(self) -> Predictor | None:
        """The loaded model; None: it is not loaded yet."""
        return self._predictor

    @property
    def seconds(self) -> float:
        """How long loading took, or takes so far."""
        return time.monotonic() - self._started if self._seconds is None else self._seconds

    def load(self) -> None:
        """Load the model and answer a first request, which compiles its graphs; keep an error in `error`."""
        if isinstance(self._source, Predictor):
            return
        try:
            predictor = self._source.load(progress=self._tell_fetched, report_compile=self._tell_compiled)
            self.progress = LoadProgress("loading", "answering a first request")
            warm_up(predictor)
        except PromptsegError as error:
            log.error("%s can't be loaded: %s", self.name, error)
            self.progress, self.error = LoadProgress("failed", message=str(error)), error
        else:
            self._predictor = predictor
            self.progress = LoadProgress("ready")
        finally:
            self._seconds = time.monotonic() - self._started
            if self.progress.state == "loading":
                self.progress = LoadProgress("failed", message="an unexpected error, which the server's log holds")

    def require(self) -> Predictor:
        """Give the loaded model.

        Raises:
            RefusedRequest: It is still loading, or could not be loaded (503).
        """
        if self._predictor is not None:
            return self._predictor
        if self.progress.state == "failed":
            raise RefusedRequest(
                503,
                "model_failed",
                f"{self.name} can't be loaded: {self.progress.message}",
                "mend what the message names, then start the server again",
            )
        step = f": {self.progress.step}" if self.progress.step else ""
        raise RefusedRequest(
            503,
            "model_loading",
            f"{self.name} is still loading{step}",
            "try again soon; GET /readyz says how far it is",
            headers=RETRY_AFTER,
        )

    def _tell_fetched(self, name: str, bytes_done: int, bytes_total: int) -> None:
        self.progress = LoadProgress("loading", f"fetching {name}", bytes_done, bytes_total)

    def _tell_compiled(self, name: str) -> None:
        self.progress = LoadProgress("loading", f"compiling {name} for this processor, once")


class ServedModels:
    """All models of a server, in order; the first one is the default.

    Args:
        sources: One or more.

    Raises:
        PromptError: There is none, or two have one name.
    """

    def __init__(self, sources: Sequence[Predictor | ModelSource]) -> None:
        names = [source.name for source in sources]
        if not names:
            raise PromptError("a server needs at least one model")
        if len(set(names)) < len(names):
            raise PromptError(f"each served model needs a name of its own, not {', '.join(names)}")
        self._models = {source.name: ServedModel(source) for source in sources}

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    @property
    def default(self) -> str:
        """Name of the model that answers requests that name none."""
        return next(iter(self._models))

    @property
    def state(self) -> State:
        """ "failed" if one failed, else "loading" if one still loads, else "ready"."""
        states = {model.progress.state for model in self}
        worst: tuple[State, ...] = ("failed", "loading")
        return next((state for state in worst if state in states), "ready")

    def find(self, name: str | None) -> ServedModel:
        """Look up a model by its name; None: the default.

        Raises:
            RefusedRequest: It is not served here (404).
        """
        found = self._models.get(self.default if name is None else name)
        if found is None:
            raise RefusedRequest(
                404,
                "unknown_model",
                f"no model named {name!r:.80} is served here; there are {', '.join(self._models)}",
                "GET /v1/models lists them; `promptseg serve --model NAME` serves another one",
            )
        return found


def warm_up(predictor: Predictor) -> None:
    """Answer requests about a bundled photograph, so that the first real one finds everything compiled and loaded."""
    embedding = predictor.encode(bundled_image("chelsea"))
    for prompt in (TextPrompt("the cat's ear"), BoxPrompt((100, 50, 300, 250))):
        if prompt.kind in predictor.prompt_kinds:
            predictor.segment(embedding, prompt)

"""The core of a server: routers give it a function, and it runs the function in its turn at the right device."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from fastapi import Request

from promptseg.server.core.gate import Gate
from promptseg.server.core.image_store import ImageStore
from promptseg.server.core.served_models import ServedModels
from promptseg.server.core.turn import Turn
from promptseg.server.settings import ServerSettings

Result = TypeVar("Result")


class Service:
    """Models, stored images and gates of one server.

    Attributes:
        models: The served models.
        settings: Limits.
        images: The stored images.
        watchers: Told the seconds of each step of every request that computed.
    """

    def __init__(self, models: ServedModels, settings: ServerSettings) -> None:
        self.models = models
        self.settings = settings
        self.images = ImageStore(max_bytes=settings.cache_bytes, max_age_s=settings.cache_age_s)
        self.watchers: list[Callable[[Mapping[str, float]], None]] = []
        self._gates: dict[str, Gate] = {}

    @property
    def gates(self) -> tuple[Gate, ...]:
        """The gates that were used so far, one for each device."""
        return tuple(self._gates.values())

    async def run(self, request: Request, work: Callable[[Turn], Result], *, model: str | None = None) -> Result:
        """Run a function in its turn at the device of a model.

        Args:
            request: Whose client may leave; its body was read.
            work: Called once, in the worker thread of the device.
            model: Name of the model; None: the default.

        Returns:
            What `work` returned.

        Raises:
            RefusedRequest: The model is not served (404) or not loaded (503), or the server is busy (503).
            ClientGone: The client left before its turn.
            PromptsegError: `work` raised it.
        """
        predictor = self.models.find(model).require()
        turn = Turn(predictor, self.images, self.settings.image_limits)
        came = time.perf_counter()

        def work_now() -> Result:
            turn.seconds["wait"] = time.perf_counter() - came
            return work(turn)

        async def client_leaves() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        result = await self._gate(predictor.device).run(work_now, client_leaves=client_leaves)
        for watch in self.watchers:
            watch(turn.seconds)
        return result

    def close(self) -> None:
        """End the worker threads."""
        for gate in self.gates:
            gate.close()

    def _gate(self, device: str) -> Gate:
        if device not in self._gates:
            settings = self.settings
            self._gates[device] = Gate(device, max_waiting=settings.max_waiting, max_wait_s=settings.max_wait_s)
        return self._gates[device]

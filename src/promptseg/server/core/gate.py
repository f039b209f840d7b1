"""The gate of a device: one request computes, a few wait in order, and more are refused at once."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

from promptseg.errors import PromptsegError
from promptseg.server.refusals import busy

Result = TypeVar("Result")
WaitForLeaving: TypeAlias = Callable[[], Coroutine[Any, Any, None]]


class ClientGone(PromptsegError):
    """The client closed the connection while its request waited: there is nobody to answer."""


class Gate:
    """Lets one request at a time compute on a device, in the order in which they came.

    All of them compute in one worker thread, so that the thread pools of the engines are made once.

    Args:
        device: Its name, such as "cpu".
        max_waiting: How many requests may wait.
        max_wait_s: How long one may wait, seconds.
    """

    def __init__(self, device: str, *, max_waiting: int, max_wait_s: float) -> None:
        self.device = device
        self.max_waiting = max_waiting
        self.max_wait_s = max_wait_s
        self._num_inside = 0
        self._turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"promptseg-{device}")

    @property
    def num_running(self) -> int:
        """How many requests compute: 0 or 1."""
        return int(self._turn.locked())

    @property
    def num_waiting(self) -> int:
        """How many requests wait."""
        return self._num_inside - self.num_running

    async def run(self, work: Callable[[], Result], *, client_leaves: WaitForLeaving) -> Result:
        """Wait for the device, then compute in the worker thread.

        Args:
            work: Computes.
            client_leaves: Returns when the client closes the connection; a request that still waits is then dropped.

        Returns:
            What `work` returned.

        Raises:
            RefusedRequest: All places are taken, or the wait was too long (503).
            ClientGone: The client left before its turn.
        """
        if self._num_inside > self.max_waiting:
            raise busy(f"a request computes on {self.device} and {self.max_waiting} wait, which is the limit")
        self._num_inside += 1
        try:
            await self._wait_for_turn(client_leaves)
            try:
                return await asyncio.get_running_loop().run_in_executor(self._thread, work)
            finally:
                self._turn.release()
        finally:
            self._num_inside -= 1

    def close(self) -> None:
        """End the worker thread once its work is done."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _wait_for_turn(self, client_leaves: WaitForLeaving) -> None:
        turn = asyncio.create_task(self._turn.acquire())
        leaving = asyncio.create_task(client_leaves())
        is_taken = False
        try:
            await asyncio.wait((turn, leaving), timeout=self.max_wait_s, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                leaving.result()
                raise ClientGone("the client closed the connection while its request waited")
            if not turn.done():
                raise busy(f"the request waited {self.max_wait_s:g} seconds for {self.device}, which is the limit")
            is_taken = True
        finally:
            leaving.cancel()
            if not is_taken and not turn.cancel():  # it has the turn, but will not use it
                self._turn.release()

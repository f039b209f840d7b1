"""Run a batch in processes of this machine. A worker that dies takes no image with it."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for_connections
from typing import ClassVar

from promptseg.batch.rows import Row
from promptseg.batch.sources import BatchImage
from promptseg.batch.worker import BatchJob, Worker
from promptseg.runtime.engine import available_cores

# Images that are waiting for each worker: enough that none is idle while rows are written.
_NUM_AHEAD = 2


@dataclass(frozen=True)
class Pool:
    """Processes of this machine.

    Attributes:
        num_workers: Number of processes; each loads the model.
    """

    num_workers: int

    @classmethod
    def of_cores(cls, device: str = "cpu") -> "Pool":
        """Give a pool of one process for each core, or of one process for a GPU."""
        return cls(available_cores() if device == "cpu" else 1)

    @property
    def num_threads(self) -> int:
        """Threads of each process: they share the cores."""
        return max(1, available_cores() // self.num_workers)

    def run(self, job: BatchJob, images: Iterable[BatchImage]) -> Iterator[list[Row]]:
        """Segment images; yields the rows of each, in the order in which they are done.

        When a worker dies, as one that the system kills for its memory, the images that were handed out are tried
        again, one by one in a process of its own; the one that ends that process too becomes a row with `error`.
        """
        waiting = deque(images)
        while waiting:
            handed_out: list[BatchImage] = []
            yield from self._run_until_one_dies(job, waiting, handed_out)
            for image in handed_out:
                yield _run_alone(job, image)

    def _run_until_one_dies(
        self, job: BatchJob, waiting: deque[BatchImage], handed_out: list[BatchImage]
    ) -> Iterator[list[Row]]:
        """Segment what is waiting; where a worker dies, `handed_out` receives the images that have no rows yet."""
        num_workers = min(self.num_workers, len(waiting))
        running: dict[Future[list[Row]], BatchImage] = {}
        with _executor(job, num_workers) as executor:
            try:
                while waiting or running:
                    while waiting and len(running) < num_workers * _NUM_AHEAD:
                        running[executor.submit(_segment, waiting[0])] = waiting[0]
                        waiting.popleft()
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        rows = future.result()
                        del running[future]
                        yield rows
            except BrokenProcessPool:
                handed_out.extend(running.values())
            except GeneratorExit:  # nobody wants the rest
                executor.shutdown(wait=False, cancel_futures=True)
                raise


def _run_alone(job: BatchJob, image: BatchImage) -> list[Row]:
    with _executor(job, 1) as executor:
        try:
            return executor.submit(_segment, image).result()
        except BrokenProcessPool:
            return [job.error_row(image, "its process died, twice: it may need more memory than there is")]


def _executor(job: BatchJob, num_workers: int) -> ProcessPoolExecutor:
    # Forked processes would inherit the thread pools of torch and OpenVINO in a state that hangs.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=_Process.start, initargs=(job,))


class _Process:
    """What a worker process holds: the functions that a pool sends reach it by the module alone."""

    worker: ClassVar[Worker]

    @classmethod
    def start(cls, job: BatchJob) -> None:
        """Load the model."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one stops it
        threading.Thread(target=_end_with_parent, daemon=True).start()
        cls.worker = job.open()


def _segment(image: BatchImage) -> list[Row]:
    return _Process.worker.segment(image)


def _end_with_parent() -> None:
    """End this process when the one that started it is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for_connections([parent.sentinel])
    os._exit(1)

"""Run a job in processes of this machine. A process that dies takes no item of the job with it."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from multiprocessing import resource_tracker
from multiprocessing.connection import wait as wait_for_connections
from typing import Any, ClassVar, Protocol, TypeVar

from promptseg.errors import PromptsegError
from promptseg.runtime.engine import available_cores

# Items that are waiting for each worker: enough that none is idle while outcomes are written.
_NUM_AHEAD = 2

Item = TypeVar("Item")
T = TypeVar("T")
Item_contra = TypeVar("Item_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


class PoolJob(Protocol[Item_contra, T_co]):
    """What processes do; it is pickled, so it holds how to load a model, not the model."""

    def open(self) -> Callable[[Item_contra], T_co]:
        """Load what is needed, once for each process, and give the function of an item.

        Raises:
            PromptsegError: It can't be loaded; `Pool.run` raises it.
        """
        ...

    def describe_death(self, item: Item_contra, error: str) -> T_co:
        """Give the outcome of an item that ended its process twice."""
        ...


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

    def run(self, job: PoolJob[Item, T], items: Iterable[Item]) -> Iterator[T]:
        """Do a job; yields the outcome of each item, in the order in which they are done.

        When a process dies, as one that the system kills for its memory, the items that were handed out are tried
        again, one by one in a process of its own; the one that ends that process too gets `PoolJob.describe_death`.

        Args:
            job: What is done.
            items: Taken a few ahead of what is done.

        Raises:
            PromptsegError: The job can't be opened.
        """
        waiting = iter(items)
        for item in waiting:
            unfinished: list[Item] = []
            yield from self._run_until_one_dies(job, chain([item], waiting), unfinished)
            for each in unfinished:
                yield _run_alone(job, each)

    def _run_until_one_dies(
        self, job: PoolJob[Item, T], waiting: Iterator[Item], unfinished: list[Item]
    ) -> Iterator[T]:
        """Do what is waiting; where a process dies, `unfinished` holds the items that have no outcome yet."""
        running: dict[Future[T], Item] = {}
        with _executor(job, self.num_workers) as executor:
            try:
                while True:
                    while len(running) < self.num_workers * _NUM_AHEAD and (item := next(waiting, _END)) is not _END:
                        unfinished.append(item)  # before it is handed out, which fails where a process just died
                        running[_submit(executor, item)] = item
                    if not running:
                        return
                    done, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        outcome = future.result()
                        unfinished.remove(running.pop(future))
                        yield outcome
            except BrokenProcessPool:
                return
            except (GeneratorExit, KeyboardInterrupt):  # nobody wants the rest
                # waits for what is running: a worker that is just starting would find its queues gone
                executor.shutdown(cancel_futures=True)
                raise


_END: Any = object()


def _run_alone(job: PoolJob[Item, T], item: Item) -> T:
    with _executor(job, 1) as executor:
        try:
            outcome: T = _submit(executor, item).result()
        except BrokenProcessPool:
            return job.describe_death(item, "its process died, twice: it may need more memory than there is")
        return outcome


def _executor(job: PoolJob[Any, Any], num_workers: int) -> ProcessPoolExecutor:
    # Forked processes would inherit the thread pools of torch and OpenVINO in a state that hangs.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(num_workers, mp_context=context, initializer=_Process.start, initargs=(job,))


def _submit(executor: ProcessPoolExecutor, item: Any) -> Future[Any]:
    """Hand an item to a worker process, which is started if there are fewer than there may be."""
    with _interrupts_held_back():
        return executor.submit(_work, item)


@contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Hold interrupts back until a worker is started: half started, it would wait for ever, and so would its parent.

    They stay blocked in the worker for good, since its parent ends it: a terminal interrupts all processes, and one
    that is importing modules would write a traceback of them.
    """
    came: list[tuple[Any, ...]] = []
    handler = signal.getsignal(signal.SIGINT)
    # Python runs handlers in its main thread, whichever thread of the process the signal reached.
    is_held = callable(handler) and threading.current_thread() is threading.main_thread()
    if is_held:
        signal.signal(signal.SIGINT, lambda *arguments: came.append(arguments))
    try:
        with _blocked_interrupts():
            yield
    finally:
        if is_held:
            signal.signal(signal.SIGINT, handler)
    if came and callable(handler):
        handler(*came[0])


@contextmanager
def _blocked_interrupts() -> Iterator[None]:
    """Block interrupts in this thread and in processes that it starts."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # it would unblock them when the first worker starts
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class _Process:
    """What a worker process holds: the functions that a pool sends reach it by the module alone."""

    work: ClassVar[Callable[[Any], Any]]

    @classmethod
    def start(cls, job: PoolJob[Any, Any]) -> None:
        """Load what the job needs."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that started this one stops it
        threading.Thread(target=_end_with_parent, daemon=True).start()
        try:
            cls.work = job.open()
        except PromptsegError as error:
            cls.work = partial(_refuse, error)


def _refuse(error: PromptsegError, item: Any) -> Any:
    raise error


def _work(item: Any) -> Any:
    return _Process.work(item)


def _end_with_parent() -> None:
    """End this process when the one that started it is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait_for_connections([parent.sentinel])
    os._exit(1)

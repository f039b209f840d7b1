"""Commands in forked children, which are killed at a moment, or which may not write large files.

The parent imports what all commands need and computes nothing, so a child starts at once.
"""

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

# Calls that change the file system; a run is killed just before one of them.
_CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree", "shutil.copyfile")

_MODULES = (
    "pydantic", "pyarrow.parquet", "lightning_fabric", "matplotlib.figure", "matplotlib.backends.backend_agg", "torch",
    "xml.etree.ElementTree", "promptseg.data.folder", "promptseg.evaluate.evaluate_set",
    "promptseg.evaluate.data_source", "promptseg.labeling", "promptseg.models.build",
    "promptseg.models.promptseg.build", "promptseg.models.promptseg.pipeline", "promptseg.train.before_after",
    "promptseg.train.finetune", "promptseg.train.loop", "promptseg.train.plots", "promptseg.weights.convert",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """How a child ended.

    Attributes:
        code: Exit code, negative for a signal.
        said: What it printed.
        num_changes: How often it changed the file system, if it was not killed.
        seconds: Wall time.
    """

    code: int
    said: str
    num_changes: int
    seconds: float


@dataclass(frozen=True)
class Limits:
    """What ends a child early.

    Attributes:
        change: It is killed before the change of the file system of this number, from 0 on; None: it is not.
        seconds: It is killed after so long; None: it is not.
        file_bytes: A file that grows larger is refused, as on a full disk; None: any size.
    """

    change: int | None = None
    seconds: float | None = None
    file_bytes: int | None = None


UNLIMITED = Limits()


def preload() -> None:
    """Import what commands import, so that children share it."""
    import importlib

    from PIL import Image

    for name in _MODULES:
        importlib.import_module(name)
    Image.init()


class Child:
    """A forked process that runs a function; `wait` for it."""

    def __init__(self, run: Callable[[], None], *, environment: Mapping[str, str], limits: Limits = UNLIMITED) -> None:
        self._limits = limits
        self._started = time.monotonic()
        self._read, write = os.pipe()
        sys.stdout.flush()
        self.process_id = os.fork()
        if self.process_id == 0:
            os.close(self._read)
            _run_child(run, write, environment, limits)
        os.close(write)

    def wait(self) -> Ended:
        """Wait for the end, or kill it at its time."""
        if self._limits.seconds is not None:
            time.sleep(max(0.0, self._started + self._limits.seconds - time.monotonic()))
            os.kill(self.process_id, signal.SIGKILL)
        with os.fdopen(self._read, "rb") as pipe:
            said = pipe.read().decode("utf-8", "replace")
        _, status = os.waitpid(self.process_id, 0)
        text, ended, count = said.rpartition("\nchanges: ")
        seconds = time.monotonic() - self._started
        return Ended(os.waitstatus_to_exitcode(status), text if ended else said, int(count) if ended else 0, seconds)


def run(run: Callable[[], None], *, environment: Mapping[str, str], limits: Limits = UNLIMITED) -> Ended:
    """Run a function in a forked process to its end."""
    return Child(run, environment=environment, limits=limits).wait()


def _run_child(run: Callable[[], None], write: int, environment: Mapping[str, str], limits: Limits) -> None:
    """Run in the child; never returns."""
    code = 70
    try:
        for descriptor in (1, 2):
            os.dup2(write, descriptor)
        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, closefd=False)
        os.environ.update(environment)
        counter = _Counter(limits.change)
        sys.addaudithook(counter)
        if limits.file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits.file_bytes, limits.file_bytes))
        try:
            run()
            code = 0
        except SystemExit as exit:
            code = exit.code if isinstance(exit.code, int) else 1
        sys.stdout.write(f"\nchanges: {counter.count}")
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001 (the parent reads what went wrong)
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


class _Counter:
    """Counts changes of the file system, and kills this process before one of them."""

    def __init__(self, last: int | None) -> None:
        self.count, self._last = 0, last

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        flags = arguments[2] if event == "open" else 0
        is_written = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if event in _CHANGES or is_written:
            if self.count == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.count += 1


def read_files(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder but locks, by their relative paths."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock" and path.name != "lock")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)}

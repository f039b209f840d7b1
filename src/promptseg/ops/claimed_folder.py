"""One rule for output folders: new, empty, or of an earlier run, and written by one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from promptseg.errors import OutputError


@contextmanager
def claim_folder(directory: Path, state: Path, *, holds: str) -> Iterator[None]:
    """Claim an output folder for this process.

    Args:
        directory: Created if it is missing. Unless it has the state of an earlier run, it must be empty.
        state: File by which an earlier run is known, in a folder of its own in `directory`; the caller compares and
            writes it.
        holds: What such a folder holds, such as "data set", for messages.

    Raises:
        OutputError: The folder holds other files, another process writes it, or it can't be written.
    """
    # A run that was interrupted right at its start leaves no file of another owner.
    if directory.is_dir() and not state.exists() and any(path != state.parent for path in directory.iterdir()):
        raise OutputError(f"{directory}: holds other files; a {holds} goes to a new or empty folder")
    lock = FileLock(state.with_name("lock"))
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout as error:
        raise OutputError(f"{directory}: another process is writing this {holds}") from error
    except OSError as error:
        raise OutputError(f"{directory}: can't be written: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()

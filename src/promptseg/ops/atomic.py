"""Write files and directories that appear complete or not at all."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from promptseg.errors import OutputError

try:
    import fcntl
except ImportError:  # Windows: it does not let a file be renamed while it is open
    fcntl = None  # type: ignore[assignment]


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary file next to `path` for writing; it is renamed to `path` if the block succeeds.

    A missing folder is created. If the block fails, the temporary file is removed. If the process is killed, it stays
    as a hidden file, which the next process that writes `path` uses again.

    Raises:
        OutputError: The folder or the file can't be written; the message names it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _temporary_file(path) as temporary:
            try:
                yield temporary
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror or error}") from error


@contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Yield a temporary directory next to `path`, which must not exist; it is renamed to `path` if the block succeeds.

    If the block fails, the temporary directory is removed. If the process is killed, it stays as a hidden directory,
    which the next process that makes `path` removes.

    Raises:
        OutputError: The directory can't be made or renamed; the message names it.
    """
    temporary = path.with_name(f".{path.name}.new")
    try:
        if temporary.exists():
            shutil.rmtree(temporary)
        temporary.mkdir(parents=True)
        try:
            yield temporary
            temporary.rename(path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise OutputError(f"{path}: can't be written: {error.strerror or error}") from error


@contextmanager
def _temporary_file(path: Path) -> Iterator[Path]:
    """Create an empty file: always that of the same name, or, while another process writes that one, a new one."""
    name = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]
    with _locked(path.with_name(f".{name}{path.suffix}")) as usual:
        temporary = usual or path.with_name(f".{uuid4().hex}{path.suffix}")
        temporary.open("wb").close()
        yield temporary


@contextmanager
def _locked(path: Path) -> Iterator[Path | None]:
    """Open or create a file and lock it; yield its path, or None if it can't be locked."""
    if fcntl is None:
        yield None
        return
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Meanwhile another process may have renamed it.
            is_ours = os.path.samestat(os.fstat(file.fileno()), path.stat())
        except (BlockingIOError, FileNotFoundError):
            is_ours = False
        except OSError:  # a file system without locks: nobody writes a file of this name
            path.unlink(missing_ok=True)
            is_ours = False
        yield path if is_ours else None

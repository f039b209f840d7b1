"""How far a download is: the bytes that lie in its scratch directory, whichever program writes them."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

ReportProgress = Callable[[str, int, int], None]
"""Called with (name, bytes here, bytes in all)."""

_SECONDS_BETWEEN_LOOKS = 0.2


@contextlib.contextmanager
def watching(directory: Path, name: str, num_bytes: int, report: ReportProgress | None) -> Iterator[None]:
    """Report the growth of a directory from a thread while the body runs; its end is reported as all there.

    Args:
        directory: Where the download happens.
        name: Passed on.
        num_bytes: About what all of it is; the report never says more.
        report: None watches nothing.
    """
    if report is None:
        yield
        return
    finished = threading.Event()

    def look() -> None:
        while not finished.wait(_SECONDS_BETWEEN_LOOKS):
            report(name, min(_directory_bytes(directory), num_bytes), num_bytes)

    report(name, 0, num_bytes)
    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()
    report(name, num_bytes, num_bytes)


def _directory_bytes(directory: Path) -> int:
    total = 0
    for path in directory.rglob("*"):
        # Downloaders rename and remove their temporary files between the listing and the look.
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size if path.is_file() else 0
    return total


@contextlib.contextmanager
def progress_bar() -> Iterator[ReportProgress]:
    """Show reports as bars on stderr, one a name; where stderr is no terminal, as one line a name."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {}

        def report(name: str, num_here: int, num_bytes: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=num_bytes)
                if not console.is_terminal:
                    console.print(f"fetching {name}, {num_bytes / 1e6:.0f} MB")
            bars.update(tasks[name], completed=num_here)

        yield report

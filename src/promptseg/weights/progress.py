"""Progress of a download, measured by the size of its scratch directory, for any downloader."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

ReportProgress = Callable[[str, int, int], None]
"""Called with (name, bytes fetched, total bytes)."""

_POLL_SECONDS = 0.2


@contextlib.contextmanager
def watching(directory: Path, name: str, num_bytes: int, report: ReportProgress | None) -> Iterator[None]:
    """Report the growth of a directory from a thread while the body runs, and completion at the end.

    Args:
        directory: Directory of the download.
        name: Name for the reports.
        num_bytes: Approximate total size; reports never exceed it.
        report: Receives the reports; None: no reports.
    """
    if report is None:
        yield
        return
    finished = threading.Event()

    def poll() -> None:
        while not finished.wait(_POLL_SECONDS):
            report(name, min(_directory_bytes(directory), num_bytes), num_bytes)

    report(name, 0, num_bytes)
    thread = threading.Thread(target=poll, daemon=True)
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
        # downloaders may rename or remove temporary files between the listing and this check
        with contextlib.suppress(FileNotFoundError):
            total += path.lstat().st_size if path.is_file() else 0
    return total


@contextlib.contextmanager
def progress_bar() -> Iterator[ReportProgress]:
    """Show reports on stderr: one bar per name in a terminal, else one line per name."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {}

        def report(name: str, num_fetched: int, num_bytes: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=num_bytes)
                if not console.is_terminal:
                    console.print(f"fetching {name}, {num_bytes / 1e6:.0f} MB")
            bars.update(tasks[name], completed=num_fetched)

        yield report

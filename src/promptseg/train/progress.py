"""A progress bar on stderr; stdout is for data."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressBar:
    """Shows the steps done, the time left, and the latest numbers."""

    def __init__(self, total_steps: int, step: int, *, enabled: bool) -> None:
        self._numbers: dict[str, float] = {}
        self._progress = Progress(
            TextColumn("step"), MofNCompleteColumn(), BarColumn(), TimeElapsedColumn(), TextColumn("left"),
            TimeRemainingColumn(), TextColumn("{task.fields[numbers]}"),
            console=Console(stderr=True), disable=not enabled,
        )  # fmt: skip
        self._task = self._progress.add_task("train", total=total_steps, completed=step, numbers="")

    def advance(self, **numbers: float) -> None:
        """Count one step and show its numbers."""
        self.show(**numbers)
        self._progress.advance(self._task)

    def show(self, **numbers: float) -> None:
        """Show new values of these numbers."""
        self._numbers |= numbers
        self._progress.update(self._task, numbers="  ".join(f"{name} {n:.4g}" for name, n in self._numbers.items()))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

"""Progress of a batch on stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from promptseg._wording import counted

# Where no terminal shows a bar, one line tells of the progress after each so many shares of the images.
_NUM_LINES = 20


class _Rate(ProgressColumn):
    """Images per second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f} images/s" if task.speed else "")


@contextmanager
def show_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show progress, rate and remaining time on stderr: a bar on a terminal, else a line now and then.

    Args:
        what: What is done, such as "segmenting", before the bar.
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _tell
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), _Rate(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _tell(done: int, total: int) -> None:
    if done * _NUM_LINES // total != (done - 1) * _NUM_LINES // total:
        typer.echo(f"{done} of {counted(total)}", err=True)

"""A model's numbers beside the published rows of the same benchmark, in percent."""

import math
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.table import Table

from promptseg.evaluate.benchmarks.published import PublishedRow
from promptseg.evaluate.report import Report


def comparison_table(report: Report) -> Table:
    """Lay out what was measured, once for every threshold that somebody used, over what was published."""
    rows = report.published
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    table = Table(title="Published, in percent", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("model")
    table.add_column("threshold", justify="right")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("source")
    for threshold in _thresholds(rows):
        measured = (_measured(report, name, threshold) for name in names)
        table.add_row(report.run.model, _say(threshold), *measured, f"this run: {report.data_set}", style="bold")
    for row in rows:
        table.add_row(row.model, _say(row.threshold), *(_cell(row.values.get(name)) for name in names), row.source)
    return table


def _thresholds(rows: Iterable[PublishedRow]) -> list[float | None]:
    stated = sorted({row.threshold for row in rows if row.threshold is not None})
    return [*stated] or [None]


def _measured(report: Report, name: str, threshold: float | None) -> str:
    number = report.numbers.get(f"{name}@{threshold}", report.numbers.get(name))
    return "" if number is None or math.isnan(number.value) else _cell(100 * number.value)


def _say(threshold: float | None) -> str:
    return "" if threshold is None else f"{threshold:g}"


def _cell(percent: float | None) -> str:
    return "" if percent is None else f"{percent:.1f}"

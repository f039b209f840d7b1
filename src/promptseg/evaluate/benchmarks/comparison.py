"""A model's metrics beside the published rows of the same benchmark, in percent."""

import math

from rich.box import SIMPLE_HEAD
from rich.table import Table

from promptseg.evaluate.report import Report, gated_name, is_gated


def comparison_table(report: Report) -> Table:
    """Lay the measured metrics out above the published ones.

    The model has one row for every threshold of the published tables, with the paper's metrics at it, and two at its
    own threshold, with the plain metrics: first those of the gated mask, which is what a user gets, then the ungated
    ones. A metric that the presence gate does not affect stands in the first of the two. Average precision needs no
    threshold.
    """
    rows = report.published
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    sources = list(dict.fromkeys(row.source for row in rows))
    table = Table(
        title=f"{report.data_set}: this run beside what was published, in percent",
        title_justify="left",
        caption="\n".join(f"({number}) {source}" for number, source in enumerate(sources, start=1)),
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("model")
    table.add_column("threshold", justify="right")
    for name in names:
        table.add_column(name, justify="right")
    table.add_column("source")
    for threshold in sorted({row.threshold for row in rows if row.threshold is not None}):
        measured = (_measured(report, name if name == "ap_paper" else f"{name}@{threshold}") for name in names)
        table.add_row(report.run.model, f"{threshold:g}", *measured, "this run", style="bold")
    for label, own_names in (
        ("gated", [gated_name(name) if gated_name(name) in report.numbers else name for name in names]),
        ("ungated", [name if gated_name(name) in report.numbers and not is_gated(name) else "" for name in names]),
    ):
        own = [_measured(report, name) for name in own_names]
        if any(own):
            table.add_row(
                report.run.model, f"own: {report.run.mask_threshold:g}, {label}", *own, "this run", style="bold"
            )
    for row in rows:
        threshold_text = "" if row.threshold is None else f"{row.threshold:g}"
        values = (f"{row.values[name]:.1f}" if name in row.values else "" for name in names)
        table.add_row(row.model, threshold_text, *values, f"({1 + sources.index(row.source)})")
    return table


def _measured(report: Report, name: str) -> str:
    number = report.numbers.get(name)
    if number is None:
        return ""
    return "undefined" if math.isnan(number.value) else f"{100 * number.value:.1f}"

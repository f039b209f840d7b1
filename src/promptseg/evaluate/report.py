"""The report of an evaluation: metrics, and everything that is needed to reproduce them."""

import hashlib
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from promptseg._wording import counted
from promptseg.evaluate.accumulator import DefineMetrics, MetricAccumulator, MetricValue
from promptseg.evaluate.benchmarks.published_results import PublishedRow
from promptseg.evaluate.definitions import define_metrics
from promptseg.evaluate.records import ImageRecord
from promptseg.ops.atomic import atomic_file

JSON_SCHEMA = "promptseg/evaluation-1"


@dataclass(frozen=True)
class EvaluationRun:
    """The model and settings that produced the metrics.

    Attributes:
        model: Name or directory.
        fingerprint: Fingerprint of the checkpoint.
        engine: What computed the predictions.
        device: Device of the network.
        mask_threshold: Probability from which a pixel belongs to a mask.
        presence_threshold: Presence from which a phrase counts as present.
        command: The command line.
        version: Version of promptseg.
        commit: Commit of promptseg; None where it was installed.
        seed: Seed of the bootstrap.
        num_resamples: Number of bootstrap draws.
        task: What the model is asked for besides phrases; "" for phrases.
    """

    model: str
    fingerprint: str
    engine: str
    device: str
    mask_threshold: float
    presence_threshold: float
    command: str
    version: str
    commit: str | None
    seed: int = 0
    num_resamples: int = 1000
    task: str = ""

    @property
    def run_id(self) -> str:
        """Model, checkpoint, engine and thresholds; differs whenever a prediction might differ."""
        thresholds = f"mask {self.mask_threshold}, presence {self.presence_threshold}"
        task = f", {self.task}" if self.task else ""
        return f"{self.model} {self.fingerprint}, {self.engine} on {self.device}, {thresholds}, {self.version}{task}"


@dataclass(frozen=True)
class Report:
    """The metrics of one model on one data set.

    Attributes:
        data_set: Its name.
        digest: sha256 over all queries: images, phrases, ground truths.
        num_images: Images that were scored.
        truths: Present pairs by who drew the ground truth: "human", "box" for a filled box, or the process that made
            it.
        num_present: Present pairs.
        num_absent: Absent pairs.
        failures: Images that could not be scored, and why.
        median_seconds: Time for one image with all its phrases.
        numbers: Metrics by name, each gated one before its ungated twin; `docs/evaluation.md` defines them.
        run: The model and settings.
        published: Published results of the same benchmark; empty for other data.
    """

    data_set: str
    digest: str
    num_images: int
    truths: Mapping[str, int]
    num_present: int
    num_absent: int
    failures: Mapping[str, str]
    median_seconds: float
    numbers: Mapping[str, MetricValue]
    run: EvaluationRun
    published: tuple[PublishedRow, ...] = ()


def build_report(
    data_set: str, images: Iterable[ImageRecord], run: EvaluationRun, *, define: DefineMetrics = define_metrics
) -> Report:
    """Summarize the records of all images of a data set."""
    accumulator = MetricAccumulator(define, seed=run.seed, num_resamples=run.num_resamples)
    scored, failures = [], {}
    for image in images:
        accumulator.update(image)
        if image.error is None:
            scored.append(image)
        else:
            failures[image.sample_id] = image.error
    pairs = [pair for image in scored for pair in image.pairs]
    sources = Counter(pair.source for pair in pairs if pair.source is not None)
    return Report(
        data_set=data_set,
        digest=hashlib.sha256("".join(image.digest for image in scored).encode()).hexdigest(),
        num_images=len(scored),
        truths=dict(sources),
        num_present=sources.total(),
        num_absent=len(pairs) - sources.total(),
        failures=failures,
        median_seconds=statistics.median(image.seconds for image in scored) if scored else math.nan,
        numbers=_gated_first(dict(accumulator.compute())),
        run=run,
    )


def gated_name(name: str) -> str:
    """Name the metric of the gated mask that belongs to an ungated one.

    Example:
        >>> gated_name("mean_iou/name/cat")
        'mean_iou_gated/name/cat'
    """
    head, slash, group = name.partition("/")
    return f"{head}_gated{slash}{group}"


def is_gated(name: str) -> bool:
    """Whether a metric is of the gated mask.

    Example:
        >>> is_gated("mean_iou_gated/name/cat"), is_gated("mean_iou/name/cat")
        (True, False)
    """
    return name.partition("/")[0].endswith("_gated")


def _gated_first(numbers: Mapping[str, MetricValue]) -> dict[str, MetricValue]:
    """Move each gated metric before its ungated twin: the gated mask is what a user gets."""
    ordered: dict[str, MetricValue] = {}
    for name in numbers:
        if is_gated(name):
            continue
        ordered |= {twin: numbers[twin] for twin in (gated_name(name), name) if twin in numbers}
    return ordered | {name: number for name, number in numbers.items() if name not in ordered}


def write_reports(reports: Sequence[Report], path: Path) -> None:
    """Write reports as strict JSON; an undefined metric is null.

    Raises:
        OutputError: The file can't be written.
    """
    document = {"schema": JSON_SCHEMA, "reports": [_to_json(asdict(report)) for report in reports]}
    with atomic_file(path) as temporary:
        temporary.write_text(
            json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def report_table(report: Report) -> Table:
    """Lay the metrics out for a terminal, gated beside ungated, without those of single names.

    A metric that the presence gate does not affect stands in the first column alone.
    """
    failed = f", {len(report.failures)} more failed" if report.failures else ""
    pairs = f"{report.num_present} present and {report.num_absent} absent pairs"
    made = "".join(
        f", {counted(count, 'truth')} by {source}" for source, count in report.truths.items() if source != "human"
    )
    title = f"{report.run.model} on {report.data_set}: {counted(report.num_images)}{failed}, {pairs}{made}"
    table = Table(
        title=title,
        title_justify="left",
        caption="Value: of the gated mask, which is empty where the model predicts that the phrase is absent.",
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("number")
    table.add_column("value (95 %)", justify="right")
    table.add_column("ungated (95 %)", justify="right")
    table.add_column("pairs", justify="right")
    numbers = report.numbers
    for name, number in numbers.items():
        if "/name/" in name or is_gated(name):
            continue
        gated = numbers.get(gated_name(name))
        if gated is None:
            table.add_row(name, _cell(number), "", str(number.count))
        else:
            table.add_row(name, _cell(gated), _cell(number), str(number.count))
    return table


def _cell(number: MetricValue) -> str:
    if math.isnan(number.value):
        return "undefined"
    return f"{number.value:.3f}" + ("" if math.isnan(number.low) else f" ({number.low:.3f}-{number.high:.3f})")


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, float):
        # Six digits are finer than any interval here; JSON has no nan.
        return round(value, 6) if math.isfinite(value) else None
    return value

"""What an evaluation says in the end: numbers, and all that is needed to get them again."""

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

from promptseg.evaluate.benchmarks.published import PublishedRow
from promptseg.evaluate.definitions import define_numbers
from promptseg.evaluate.records import ImageRecord
from promptseg.evaluate.tally import Define, Number, Tally
from promptseg.ops.atomic import atomic_file

JSON_SCHEMA = "promptseg/evaluation-1"


@dataclass(frozen=True)
class Run:
    """How the numbers were made.

    Attributes:
        model: Name or directory.
        fingerprint: Of its checkpoint.
        engine: What computed it.
        device: Where.
        mask_threshold: Probability from which a pixel belongs to a mask.
        presence_threshold: Presence from which a phrase counts as present.
        command: The command line.
        version: Of promptseg.
        commit: Of promptseg; None where it was installed.
        seed: Of the bootstrap.
        num_resamples: Of the bootstrap.
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

    @property
    def asked(self) -> str:
        """Who was asked, in a text that differs whenever an answer might."""
        thresholds = f"mask {self.mask_threshold}, presence {self.presence_threshold}"
        return f"{self.model} {self.fingerprint}, {self.engine} on {self.device}, {thresholds}, {self.version}"


@dataclass(frozen=True)
class Report:
    """The numbers of one model on one data set.

    Attributes:
        data_set: Its name.
        digest: sha256 over everything that was asked: images, phrases, truths.
        num_images: Images that were judged.
        truths: Present pairs by who drew the truth: "human", "box" for a filled box, or the process that made it.
        num_present: Present pairs.
        num_absent: Absent pairs.
        failures: Images that could not be judged, and why.
        median_seconds: For one image with all its phrases.
        numbers: By name; `docs/evaluation.md` defines them.
        run: How they were made.
        published: What others published on the same, where it is a benchmark.
    """

    data_set: str
    digest: str
    num_images: int
    truths: Mapping[str, int]
    num_present: int
    num_absent: int
    failures: Mapping[str, str]
    median_seconds: float
    numbers: Mapping[str, Number]
    run: Run
    published: tuple[PublishedRow, ...] = ()


def build_report(data_set: str, images: Iterable[ImageRecord], run: Run, *, define: Define = define_numbers) -> Report:
    """Sum up the records of all images of a data set."""
    tally = Tally(define, seed=run.seed, num_resamples=run.num_resamples)
    judged, failures = [], {}
    for image in images:
        tally.add(image)
        if image.error is None:
            judged.append(image)
        else:
            failures[image.sample_id] = image.error
    pairs = [pair for image in judged for pair in image.pairs]
    sources = Counter(pair.source for pair in pairs if pair.source is not None)
    return Report(
        data_set=data_set,
        digest=hashlib.sha256("".join(image.digest for image in judged).encode()).hexdigest(),
        num_images=len(judged),
        truths=dict(sources),
        num_present=sources.total(),
        num_absent=len(pairs) - sources.total(),
        failures=failures,
        median_seconds=statistics.median(image.seconds for image in judged) if judged else math.nan,
        numbers=dict(tally.numbers()),
        run=run,
    )


def write_reports(reports: Sequence[Report], path: Path) -> None:
    """Write reports as strict JSON; a number that is not defined is null.

    Raises:
        OutputError: The file can't be written.
    """
    document = {"schema": JSON_SCHEMA, "reports": [_to_json(asdict(report)) for report in reports]}
    with atomic_file(path) as temporary:
        temporary.write_text(
            json.dumps(document, indent=1, allow_nan=False, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def report_table(report: Report) -> Table:
    """Lay the numbers out for a terminal, each beside its gated twin, without those of single names."""
    failed = f", {len(report.failures)} more failed" if report.failures else ""
    pairs = f"{report.num_present} present and {report.num_absent} absent pairs"
    made = "".join(f", {count} truths by {source}" for source, count in report.truths.items() if source != "human")
    title = f"{report.run.model} on {report.data_set}: {report.num_images} images{failed}, {pairs}{made}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("number")
    table.add_column("value (95 %)", justify="right")
    table.add_column("gated (95 %)", justify="right")
    table.add_column("pairs", justify="right")
    numbers = report.numbers
    for name, number in numbers.items():
        head, slash, group = name.partition("/")
        if "/name/" not in name and not head.endswith("_gated"):
            gated = numbers.get(f"{head}_gated{slash}{group}")
            table.add_row(name, _cell(number), _cell(gated) if gated else "", str(number.count))
    return table


def _cell(number: Number) -> str:
    if math.isnan(number.value):
        return "undefined"
    return f"{number.value:.3f}" + ("" if math.isnan(number.low) else f" ({number.low:.3f}-{number.high:.3f})")


def _to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _to_json(item) for key, item in value.items()}
    if isinstance(value, float):
        # Six digits say more than any interval here; nan has no place in JSON.
        return round(value, 6) if math.isfinite(value) else None
    return value

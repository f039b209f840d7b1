"""The ablation of Uni-OVSeg's second stage: variants of one recipe, trained and measured, beside the paper's table 4.

Command:  python benchmarks/uniovseg_ablation.py --pairs PAIRS --init runs/masks/best --coco COCO --out runs/ablation
          (--pairs: image-text pairs with captions.jsonl and entities.jsonl, see docs/uniovseg.md; --coco: COCO's
          panoptic set, --context: Pascal Context 59, in the layouts of docs/data.md; --resume continues)
Rows:     baseline: the first stage alone, regions named by CLIP. parser: trained with entities that our parser finds
          (the paper: NLTK). refined: in captions that a language model improved. language-model: with its entities.
          multi-scale: pairs chosen at two sizes of the image.
How:      each row is one call of `promptseg train` and one of `promptseg evaluate-benchmark` for each set, which go to
          stderr as they start. A row whose files are missing is not trained, and says so.
Output:   one JSON line for each row, in percent; then the table.
"""

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from promptseg.data.image_text import CAPTIONS_FILE, ENTITIES_FILE
from promptseg.errors import DataError, PromptsegError

SOURCE = "arXiv:2402.08960v1, table 4"
RECIPE = Path(__file__).parents[1] / "recipes" / "uniovseg_align.py"
METRICS = {
    "COCO PQ": ("coco-panoptic", "pq"),
    "COCO mIoU": ("coco-panoptic", "miou"),
    "PC-59 mIoU": ("pascal-context-59", "miou"),
}


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        name: Of the recipe's variant; "baseline" is not trained.
        published: The paper's figures, in percent, in the order of `METRICS`.
        files: What it needs beside the pairs.
    """

    name: str
    published: tuple[float, float, float]
    files: tuple[str, ...] = ()


VARIANTS = (
    Variant("baseline", (13.2, 33.2, 39.7)),
    Variant("parser", (14.1, 34.5, 40.9)),
    Variant("refined", (15.6, 37.3, 44.5), (CAPTIONS_FILE,)),
    Variant("language-model", (16.2, 40.4, 48.2), (CAPTIONS_FILE, ENTITIES_FILE)),
    Variant("multi-scale", (18.0, 42.7, 50.9), (CAPTIONS_FILE, ENTITIES_FILE)),
)


@dataclass(frozen=True)
class Row:
    """What is known of a variant: its figures in percent by the name of the metric, or why there are none."""

    variant: Variant
    measured: dict[str, float | None]
    not_run: str = ""

    def to_json(self) -> dict[str, Any]:
        """Lay it out as one line."""
        published = dict(zip(METRICS, self.variant.published, strict=True))
        reason = {"not_run": self.not_run} if self.not_run else {}
        return {"variant": self.variant.name, **self.measured, **reason, "published": published, "source": SOURCE}


def call(*words: object) -> None:
    """Run a command of promptseg; what it prints goes to stderr.

    Raises:
        DataError: It failed; the message names the command.
    """
    command = [str(word) for word in words]
    sys.stderr.write(f"promptseg {shlex.join(command)}\n")
    sys.stderr.flush()
    ended = subprocess.run([sys.executable, "-m", "promptseg", *command], stdout=sys.stderr, check=False)
    if ended.returncode:
        raise DataError(f"promptseg {shlex.join(command)}: ended with code {ended.returncode}")


def measure(variant: Variant, options: argparse.Namespace) -> Row:
    """Train a variant, unless it is the baseline, and measure it on each set that was given."""
    if missing := [name for name in variant.files if not (options.pairs / name).is_file()]:
        return Row(variant, {}, f"{options.pairs} has no {' and no '.join(missing)}")
    folder = options.out / variant.name
    model = options.init if variant.name == "baseline" else str(train(variant, folder, options))
    sets = {"coco-panoptic": options.coco, "pascal-context-59": options.context}
    reports = {name: folder / f"{name}.json" for name, data in sets.items() if data is not None}
    for name, report in reports.items():
        if not (options.resume and report.is_file()):
            limit = () if options.limit is None else ("--limit", options.limit)
            engine = ("--engine", options.engine, "--device", options.accelerator)
            folder.mkdir(parents=True, exist_ok=True)
            call("evaluate-benchmark", name, "--data", sets[name], "--model", model, "--out", report, *limit, *engine)
    return Row(
        variant, {name: read_number(reports[where], key) for name, (where, key) in METRICS.items() if where in reports}
    )


def train(variant: Variant, folder: Path, options: argparse.Namespace) -> Path:
    """Train a variant and give its checkpoint; one that was trained to its end is not trained again by --resume."""
    if not (options.resume and (folder / "final").is_dir()):
        steps = () if options.steps is None else ("--steps", options.steps)
        resume = ("--resume",) if options.resume and (folder / "state.pt").is_file() else ()
        call(
            "train", f"{options.recipe}:{variant.name}", "--data", options.pairs, "--out", folder,
            "--init", options.init, "--devices", options.devices, "--accelerator", options.accelerator, *steps, *resume,
        )  # fmt: skip
    return folder / "best"


def read_number(report: Path, metric: str) -> float | None:
    """Read a figure of a report of one set, in percent; None: undefined."""
    (document,) = json.loads(report.read_text(encoding="utf-8"))["reports"]
    value = document["numbers"][metric]["value"]
    return None if value is None else round(100 * value, 1)


def lay_out(rows: list[Row]) -> Table:
    """Lay the rows out beside the paper's."""
    table = Table(title="Ablation of the second stage, in percent", title_justify="left", box=SIMPLE_HEAD)
    table.add_column("variant")
    for name in METRICS:
        table.add_column(name, justify="right")
        table.add_column("paper", justify="right", style="dim")
    for row in rows:
        cells = []
        for name, published in zip(METRICS, row.variant.published, strict=True):
            value = row.measured.get(name)
            missing = "undefined" if name in row.measured else ""
            cells += [missing if value is None else f"{value:.1f}", f"{published:.1f}"]
        table.add_row(row.variant.name, *cells)
    notes = [f"{row.variant.name}: not run, {row.not_run}" for row in rows if row.not_run]
    table.caption = "\n".join([*notes, f"paper: {SOURCE}"])
    table.caption_justify = "left"
    return table


def main() -> None:
    """Measure what the options name."""
    names = [variant.name for variant in VARIANTS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=Path, required=True, help="folder of image-text pairs")
    parser.add_argument("--init", required=True, help="checkpoint of the first stage")
    parser.add_argument("--coco", type=Path, required=True, help="folder of COCO's panoptic set")
    parser.add_argument("--context", type=Path, help="folder of Pascal Context 59; without it, that column is empty")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and their reports")
    parser.add_argument("--recipe", type=Path, default=RECIPE, help="recipe whose variants have these names")
    parser.add_argument("--variants", nargs="+", choices=names, default=names)
    parser.add_argument("--steps", type=int, help="of each run; without it, the recipe's")
    parser.add_argument("--limit", type=int, help="images of each set, the first ones; without it, all")
    parser.add_argument("--devices", type=int, default=1, help="that share each batch")
    parser.add_argument("--accelerator", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--engine", default="auto", help="that computes the maps: auto, torch, openvino, openvino-bf16")
    parser.add_argument("--resume", action="store_true", help="continue in --out")
    options = parser.parse_args()
    rows = []
    try:
        for variant in VARIANTS:
            if variant.name in options.variants:
                rows.append(measure(variant, options))
                sys.stdout.write(json.dumps(rows[-1].to_json()) + "\n")
                sys.stdout.flush()
    except PromptsegError as error:
        raise SystemExit(str(error)) from error
    Console().print(lay_out(rows))


if __name__ == "__main__":
    main()

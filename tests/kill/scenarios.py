"""Commands that write, on data as small as it can be, and what a repeated run of them gives again, byte by byte."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from data_trees import write_mask
from evaluate_world import block, paint, write_indexes
from forked import read_files
from PIL import Image
from weights_support import MEMBER, build_wheel, checkpoint_bytes, pip_environment, tiny_record

import promptseg
from promptseg.batch.rows import Row
from promptseg.batch.sources import BatchImage
from promptseg.batch.worker import BatchJob
from promptseg.cli.main import main

WORLDS = Path(__file__).parents[1] / "worlds"
MODEL = ("--model", "promptseg-test", "--threshold", "0", "--engine", "torch", "--device", "cpu")
WEIGHTS = checkpoint_bytes()


@dataclass(frozen=True)
class Scenario:
    """A command that writes.

    Attributes:
        name: Name.
        run: Runs the command; the argument is the folder that it writes to.
        promised: What of the folder a run gives again after others were killed.
        in_pairs: Whether two processes run it at once.
        by_time: Whether it is killed after some time, for what it writes is not written by Python.
        environment: Variables, of the same folder.
    """

    name: str
    run: Callable[[Path], None]
    promised: Callable[[Path], dict[str, bytes]] = read_files
    in_pairs: bool = False
    by_time: bool = False
    environment: Callable[[Path], dict[str, str]] = lambda out: {}


def write_inputs(root: Path) -> Path:
    """Write the photos, annotated images and weights that the commands read."""
    rng = np.random.default_rng(0)
    (root / "photos").mkdir(parents=True)
    for number in range(6):
        pixels = rng.integers(0, 256, (24 + number, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"photos/{number}.png")
    (root / "names.txt").write_text("cat\nred mug\n", encoding="utf-8")
    for number in range(5):
        red = block(0, 0, 5 + number, 6)
        paint(root / f"shapes/images/{number}.png", {"red": red})
        write_mask(root / f"shapes/masks/red/{number}.png", red)
    write_indexes(root / "indexes", "colors")
    build_wheel(root / "links", {MEMBER: WEIGHTS})
    return root


def list_scenarios(root: Path) -> dict[str, Scenario]:
    """List the scenarios on the inputs in a folder."""
    found = (
        Scenario("train", partial(_train, root), _train_promise),
        Scenario("finetune", partial(_finetune, root)),
        Scenario("autolabel", partial(_autolabel, root)),
        Scenario("evaluate", partial(_evaluate, root), _evaluate_promise),
        Scenario("batch parquet", partial(_batch, root, "parquet"), _batch_promise),
        Scenario("batch jsonl", partial(_batch, root, "jsonl"), _batch_promise),
        Scenario("batch pool", partial(_batch_pool, root), _batch_promise, by_time=True),
        Scenario(
            "weights pull", _pull, _pull_promise, in_pairs=True,
            environment=lambda out: pip_environment(root / "links") | {"PROMPTSEG_CACHE": str(out / "cache")},
        ),
        Scenario(
            "first compile", partial(_compile, root), _compile_promise, in_pairs=True, by_time=True,
            environment=lambda out: {"PROMPTSEG_CACHE": str(out / "cache")},
        ),
    )  # fmt: skip
    return {scenario.name: scenario for scenario in found}


def run_command(*words: object) -> None:
    """Run a command of `promptseg`; it ends by `SystemExit`."""
    main([str(word) for word in words])


def _train(root: Path, out: Path) -> None:
    resume = ("--resume",) if (out / "run/run.json").exists() else ()
    run_command("train", WORLDS / "toy.py", "--data", root, "--out", out / "run", *resume)


def _train_promise(out: Path) -> dict[str, bytes]:
    """Weights and numbers; not the times in the log."""
    files = {name: content for name, content in read_files(out).items() if name.startswith(("run/best", "run/final"))}
    lines = [json.loads(line) for line in (out / "run/log.jsonl").read_text(encoding="utf-8").splitlines()]
    numbers = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    return files | {"log": json.dumps(numbers).encode(), "names": json.dumps(sorted(read_files(out))).encode()}


def _finetune(root: Path, out: Path) -> None:
    if (out / "mine").exists():  # the killed run was done: there is nothing to go on with
        return
    model = ("--model", "promptseg-test-dense", "--engine", "torch")
    run_command("finetune", root / "shapes", "--out", out / "mine", "--steps", 2, *model)


def _autolabel(root: Path, out: Path) -> None:
    names = ("--names", root / "names.txt", "--format", "yolo")
    run_command("autolabel", root / "photos", *names, "--out", out / "labels", *MODEL)


def _evaluate(root: Path, out: Path) -> None:
    model = ("--model", "promptseg-test", "--engine", "torch", "--device", "cpu")
    resume = ("--resume",) if any(out.glob("report.*.jsonl")) else ()
    run_command("evaluate", "--data", root / "indexes/colors.jsonl", "--out", out / "report.json", *model, *resume)


def _evaluate_promise(out: Path) -> dict[str, bytes]:
    """All numbers; not the times, and not the command."""
    files = read_files(out)
    (report,) = json.loads(files.pop("report.json"))["reports"]
    records = [json.loads(line) for line in files.pop("report.colors.jsonl").splitlines()]
    for record in records:
        del record["seconds"]
    kept = {key: report[key] for key in ("data_set", "num_images", "numbers", "failures")}
    return files | {"report": json.dumps(kept).encode(), "records": json.dumps(records).encode()}


class _ThisProcess:
    """Segments the images of a batch in this process, so that it is killed at a change of its files."""

    def run(self, job: BatchJob, images: Iterable[BatchImage]) -> Iterator[list[Row]]:
        worker = job.open()
        return (worker.segment(image) for image in images)

    @property
    def num_threads(self) -> int:
        return 1


def _batch(root: Path, format: Literal["parquet", "jsonl"], out: Path) -> None:
    from promptseg.batch import batch, list_sources

    model = promptseg.load("promptseg-test", threshold=0.0, engine="torch", device="cpu")
    images = list_sources([root / "photos"])
    batch(model, images, ["cat", "red mug"], out / "rows", format=format, runner=_ThisProcess(), images_per_part=2)


def _batch_pool(root: Path, out: Path) -> None:
    names = ("--names", root / "names.txt", "--format", "jsonl", "--workers", 2)
    run_command("batch", root / "photos", *names, "--out", out / "rows", *MODEL)


def _batch_promise(out: Path) -> dict[str, bytes]:
    """All rows, each once; not the times, nor which part holds them."""
    from promptseg.batch import read_rows

    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in read_rows(out / "rows")]
    left = [name for name in read_files(out) if not Path(name).name.startswith(("part-", "batch.json"))]
    lines = sorted(json.dumps(row, sort_keys=True) for row in rows)
    return {"rows": "\n".join(lines).encode(), "other files": json.dumps(left).encode()}


def _pull(out: Path) -> None:
    from promptseg.weights import RECORDS

    record = tiny_record(WEIGHTS)
    RECORDS[record.name] = record
    run_command("weights", "pull", record.name)


def _pull_promise(out: Path) -> dict[str, bytes]:
    return read_files(out / "cache/weights")


def _compile(root: Path, out: Path) -> None:
    model = ("--model", "promptseg-test", "--threshold", "0", "--engine", "openvino")
    run_command("predict", root / "photos/0.png", "--text", "cat", "--out", out / f"result-{os.getpid()}", *model)


def _compile_promise(out: Path) -> dict[str, bytes]:
    """The mask of each run that was not killed, and the names of the compiled graphs."""
    masks = {path.read_bytes() for path in out.glob("result-*/mask-000-cat.png")}
    names = sorted(path.name for path in (out / "cache/engines").iterdir() if path.is_dir())
    return {"masks": b"".join(sorted(masks)), "graphs": json.dumps(names).encode()}

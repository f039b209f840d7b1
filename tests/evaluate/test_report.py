"""Reports: what they hold, their table, and the files of one set."""

import dataclasses
import doctest
import io
import json
import subprocess
from pathlib import Path

import pytest
from evaluate_world import ColorSegmenter, block, paint, write_indexes
from PIL import Image
from rich.console import Console

import promptseg.evaluate
from promptseg.data.jsonl import read_jsonl
from promptseg.data.sample import Sample, Target
from promptseg.evaluate import report as report_module
from promptseg.evaluate.evaluate_set import Outputs, evaluate_set
from promptseg.evaluate.provenance import git_commit
from promptseg.evaluate.records import read_records
from promptseg.evaluate.report import EvaluationRun, build_report, report_table, write_reports
from promptseg.evaluate.runner import evaluate_samples
from promptseg.ops.rle import encode_rle

RUN = EvaluationRun(
    model="colors",
    fingerprint="0123",
    engine="torch",
    device="cpu",
    mask_threshold=0.5,
    presence_threshold=0.3,
    command="promptseg evaluate",
    version="0",
    commit=None,
    num_resamples=20,
)


@pytest.fixture
def samples(tmp_path):
    """Four images of an index; the last one is broken."""
    write_indexes(tmp_path, "clothes")
    (tmp_path / "clothes/3.png").write_bytes(b"no image")
    return read_jsonl(tmp_path / "clothes.jsonl")


def test_report_holds_everything_and_is_strict_json(samples, tmp_path):
    outputs = Outputs(records=tmp_path / "out/records.jsonl")
    evaluated = evaluate_set(ColorSegmenter(), "clothes", samples, run=RUN, outputs=outputs)
    write_reports([evaluated.report], tmp_path / "out/report.json")
    loaded = json.loads((tmp_path / "out/report.json").read_text(), parse_constant=pytest.fail)["reports"][0]
    assert loaded["numbers"]["mean_iou"]["value"] == pytest.approx((3 + 4 / 8 + 6 / 8 + 1) / 6)
    assert loaded["numbers"]["mean_iou"]["low"] <= loaded["numbers"]["mean_iou"]["high"]
    assert loaded["numbers"]["mean_iou/name/red"]["value"] == 1
    assert loaded["run"] == dataclasses.asdict(RUN)
    assert (loaded["num_images"], loaded["num_present"], loaded["num_absent"]) == (3, 6, 0)
    assert list(loaded["failures"]) == ["clothes/3.png"]
    assert len(loaded["digest"]) == 64
    assert len(list(read_records(outputs.records))) == 4
    evaluated.write_gallery(ColorSegmenter(), tmp_path / "out/sheet.png")
    with Image.open(tmp_path / "out/sheet.png") as sheet:
        assert sheet.width > 1000


def test_report_gives_each_gated_number_first_and_the_ungated_one_next(samples):
    names = list(build_report("clothes", evaluate_samples(ColorSegmenter(), samples), RUN).numbers)
    assert names[:2] == ["mean_iou_gated", "mean_iou"]
    for name in ("mean_iou/thing", "precision", "mean_iou/name/red"):
        head, slash, group = name.partition("/")
        assert names.index(f"{head}_gated{slash}{group}") == names.index(name) - 1
    assert len(names) == len(set(names))


def test_report_counts_who_drew_the_truth(tmp_path):
    image = paint(tmp_path / "x.png", {"red": block(0, 0, 5, 5)})
    target = Target("red", masks=(encode_rle(block(0, 0, 5, 5)),), source="box")
    records = evaluate_samples(ColorSegmenter(), [Sample("x.png", image, (10, 10), (target,), absent=("blue",))])
    report = build_report("regions", records, RUN)
    assert (report.truths, report.num_present, report.num_absent) == ({"box": 1}, 1, 1)
    assert "1 truth by box" in str(report_table(report).title)


def test_digest_changes_with_the_queries(samples):
    chosen = samples[:2]

    def digest(part):
        return build_report("x", evaluate_samples(ColorSegmenter(), part), RUN).digest

    other = dataclasses.replace(chosen[1], absent=("blue",))
    assert digest(chosen) == digest(list(chosen)) != digest([chosen[0], other])


def test_table_shows_each_gated_number_beside_its_ungated_twin(samples):
    report = build_report("clothes", evaluate_samples(ColorSegmenter(), samples), RUN)
    stream = io.StringIO()
    Console(width=100, file=stream).print(report_table(report))
    text = stream.getvalue()
    title = " ".join(text.split("number")[0].split())
    assert title == "colors on clothes: 3 images, 1 more failed, 6 present and 0 absent pairs"
    line = next(line for line in text.splitlines() if line.strip().startswith("mean_iou "))
    gated, ungated = report.numbers["mean_iou_gated"].value, report.numbers["mean_iou"].value
    assert gated != ungated
    assert line.split()[1] == f"{gated:.3f}"
    assert f"{ungated:.3f}" in line
    assert "mean_iou_gated" not in text and "/name/" not in text


def test_undefined_numbers_are_null(tmp_path):
    image = paint(tmp_path / "x.png", {})
    target = Target("red", masks=(encode_rle(block(0, 0, 5, 5)),))
    records = evaluate_samples(ColorSegmenter(), [Sample("x.png", image, (10, 10), (target,))])
    report = build_report("x", records, RUN)
    assert (report.numbers["precision"].count, report.numbers["precision"].undefined) == (0, 1)
    write_reports([report], tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text())["reports"][0]["numbers"]["precision"]["value"] is None


def test_commit_is_that_of_this_checkout():
    root = Path(promptseg.evaluate.__file__).parents[3]
    head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if head.returncode:
        assert git_commit() is None
    else:
        assert git_commit().removesuffix("+changes") == head.stdout.strip()


def test_the_examples_of_the_documentation_hold():
    outcome = doctest.testmod(report_module)
    assert (outcome.attempted, outcome.failed) == (2, 0)

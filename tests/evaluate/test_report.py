"""Reports, galleries and the command, from a tiny data tree on disk to files."""

import dataclasses
import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import typer
from evaluate_world import ColorSegmenter, block, paint
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

import promptseg.evaluate
from promptseg.cli.evaluate import evaluate
from promptseg.data.sample import Sample, Target
from promptseg.errors import DataError
from promptseg.evaluate.gallery import PREDICTION_RGB, TRUTH_RGB, Tile, choose_pairs, draw_pairs, draw_sheet
from promptseg.evaluate.provenance import git_commit
from promptseg.evaluate.records import ImageRecord, PairRecord, read_records
from promptseg.evaluate.report import Run, build_report, report_table, write_reports
from promptseg.evaluate.runner import evaluate_samples
from promptseg.evaluate.session import Outputs, Selection, evaluate_set
from promptseg.evaluate.sets import load_tuning_set
from promptseg.evaluate.thresholds import fit_thresholds
from promptseg.metrics import PixelCounts
from promptseg.ops.rle import encode_rle

RUN = Run(
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


ENGINE = ("--engine", "torch", "--device", "cpu")


def record_of(name, masks):
    return {
        "image": name,
        "width": 10,
        "height": 10,
        "exhaustive": "red, green, blue",
        "masks": [
            {"category": phrase, "rle": encode_rle(mask), "kind": "thing", "iscrowd": False}
            for phrase, mask in masks.items()
        ],
    }


@pytest.fixture
def data_dir(tmp_path):
    """A tree with one evaluation set (clothes_dev) and one training set (shapes); one evaluation image is broken."""
    for name in ("clothes_dev", "shapes"):
        records = []
        for index in range(4):
            red, green = block(0, 0, 4 + index, 6), block(8, 0, 10, 2 + index)
            image = f"{name}/{index}.png"
            paint(tmp_path / image, {"red": red, "green": green})
            records.append(record_of(image, {"red": red, "green": block(8, 0, 10, 4)}))
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (tmp_path / "clothes_dev/3.png").write_bytes(b"no image")
    return tmp_path


def run_command(*arguments):
    app = typer.Typer()
    app.command()(evaluate)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_report_tells_everything_and_is_strict_json(data_dir, tmp_path):
    samples = Selection(data_dir).load("clothes_dev")
    outputs = Outputs(records=tmp_path / "out/records.jsonl", gallery=tmp_path / "out/sheet.png")
    report = evaluate_set(ColorSegmenter(), "clothes_dev", samples, run=RUN, outputs=outputs)
    write_reports([report], tmp_path / "out/report.json")
    loaded = json.loads((tmp_path / "out/report.json").read_text(), parse_constant=pytest.fail)["reports"][0]
    assert loaded["numbers"]["mean_iou"]["value"] == pytest.approx((3 + 4 / 8 + 6 / 8 + 1) / 6)
    assert loaded["numbers"]["mean_iou"]["low"] <= loaded["numbers"]["mean_iou"]["high"]
    assert loaded["numbers"]["mean_iou/name/red"]["value"] == 1
    assert loaded["run"] == dataclasses.asdict(RUN)
    assert (loaded["num_images"], loaded["num_present"], loaded["num_absent"]) == (3, 6, 0)
    assert list(loaded["failures"]) == ["clothes_dev/3.png"]
    assert len(loaded["digest"]) == 64
    assert len(list(read_records(outputs.records))) == 4
    with Image.open(outputs.gallery) as sheet:
        assert sheet.width > 1000


def test_report_says_who_drew_the_truth(tmp_path):
    image = paint(tmp_path / "x.png", {"red": block(0, 0, 5, 5)})
    target = Target("red", masks=(encode_rle(block(0, 0, 5, 5)),), source="box")
    records = evaluate_samples(ColorSegmenter(), [Sample("x.png", image, (10, 10), (target,), absent=("blue",))])
    report = build_report("regions", records, RUN)
    assert (report.truths, report.num_present, report.num_absent) == ({"box": 1}, 1, 1)
    assert "1 truths by box" in str(report_table(report).title)


def test_digest_changes_with_what_is_asked(data_dir):
    samples = Selection(data_dir).load("clothes_dev")[:2]

    def digest(asked):
        return build_report("x", evaluate_samples(ColorSegmenter(), asked), RUN).digest

    other = dataclasses.replace(samples[1], absent=("blue",))
    assert digest(samples) == digest(list(samples)) != digest([samples[0], other])


def test_table_shows_each_number_beside_its_gated_twin(data_dir):
    samples = Selection(data_dir).load("clothes_dev")
    report = build_report("clothes_dev", evaluate_samples(ColorSegmenter(), samples), RUN)
    stream = io.StringIO()
    Console(width=100, file=stream).print(report_table(report))
    text = stream.getvalue()
    title = " ".join(text.split("number")[0].split())
    assert title == "colors on clothes_dev: 3 images, 1 more failed, 6 present and 0 absent pairs"
    line = next(line for line in text.splitlines() if line.strip().startswith("mean_iou "))
    gated = report.numbers["mean_iou_gated"].value
    assert line.split()[1] == f"{report.numbers['mean_iou'].value:.3f}"
    assert f"{gated:.3f}" in line
    assert "mean_iou_gated" not in text and "/name/" not in text


def test_undefined_numbers_are_null_and_say_so(tmp_path):
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
    expected = head.stdout.strip() if head.returncode == 0 else None
    commit = git_commit()
    assert commit is None or commit.removesuffix("+changes") == expected


def test_gallery_spreads_over_images_and_phrases():
    def image(name, *ious):
        pairs = tuple(
            PairRecord(f"phrase {index}", "thing", "human", True, 0.9, True, counts, counts)
            for index, counts in enumerate(PixelCounts(iou, iou, 100, 1000) for iou in ious)
        )
        return ImageRecord(name, pairs=pairs)

    chosen = choose_pairs([image("a", 90, 95), image("b", 99, 50), image("c", 10, 0)], num_each=2)
    names = {row: [(image.sample_id, pair.phrase) for image, pair in pairs] for row, pairs in chosen.items()}
    assert names["best"] == [("b", "phrase 0"), ("a", "phrase 1")]
    assert names["worst"] == [("c", "phrase 1"), ("a", "phrase 0")], "though c and b have worse ones left"
    assert choose_pairs([]) == {}


def test_gallery_draws_truth_green_and_prediction_red(data_dir):
    samples = Selection(data_dir).load("clothes_dev")[:3]
    records = list(evaluate_samples(ColorSegmenter(), samples))
    sheet = np.asarray(draw_pairs(ColorSegmenter(), samples, choose_pairs(records, num_each=4), title="t"))
    for color in (TRUTH_RGB, PREDICTION_RGB):
        assert (np.abs(sheet.astype(int) - color).max(axis=-1) < 40).sum() > 500


def test_sheet_has_even_columns_for_images_of_any_shape():
    mask = np.zeros((50, 2000), dtype=bool)
    mask[10:20, 100:900] = True
    wide = Tile(np.zeros((50, 2000, 3), np.uint8), mask, mask, "a very long phrase " * 10, "IoU 1.00")
    tiny = Tile(np.zeros((1, 1, 3), np.uint8), np.ones((1, 1), bool), np.zeros((1, 1), bool), "dot", "IoU 0.00")
    one, two = (draw_sheet({"best": [wide] * count}, title="x") for count in (1, 4))
    assert one.size == two.size
    assert draw_sheet({"best": [wide, tiny], "worst": [tiny] * 5}, title="x").width == one.width


def test_tuning_set_asks_as_many_absent_phrases_and_refuses_evaluation_sets(data_dir):
    samples = load_tuning_set("shapes", data_dir)
    assert [sample.absent for sample in samples] == [("blue",)] * 4, "the only complete name that is not there"
    with pytest.raises(DataError, match="'clothes_dev' is an evaluation set"):
        load_tuning_set("clothes_dev", data_dir)


def test_thresholds_are_fixed_on_a_tuning_set(data_dir):
    calibration = fit_thresholds(ColorSegmenter(), load_tuning_set("shapes", data_dir))
    assert calibration.mask_threshold == pytest.approx(0.5, abs=0.02)
    assert (calibration.present_kept, calibration.absent_rejected) == (1, 1)
    assert (calibration.num_present, calibration.num_absent) == (8, 4)
    with pytest.raises(DataError, match="no phrase with a mask"):
        fit_thresholds(ColorSegmenter(), [])


def test_command_writes_report_records_and_gallery(data_dir, tmp_path):
    out, sheet = tmp_path / "out/report.json", tmp_path / "out/sheet.png"
    arguments = (
        "--model",
        "promptseg-test",
        "--data",
        data_dir,
        "--set",
        "clothes_dev",
        "--out",
        out,
        "--device",
        "cpu",
    )
    result = run_command(*arguments, "--gallery", sheet, "--engine", "torch")
    assert result.exit_code == 1, "one image is broken"
    assert "promptseg-test on clothes_dev: 3 images, 1 more failed" in result.stdout
    assert "error: clothes_dev/3.png: ImageError" in result.stderr
    report = json.loads(out.read_text())["reports"][0]
    assert report["run"]["model"] == "promptseg-test"
    assert report["numbers"]["mean_iou"]["count"] == 6
    assert sheet.exists() and out.with_name("report.clothes_dev.jsonl").exists()
    again = run_command(*arguments, "--resume")
    assert json.loads(out.read_text())["reports"][0]["numbers"] == report["numbers"]
    assert again.exit_code == 1


def test_command_takes_listed_images_only(data_dir, tmp_path):
    listed = tmp_path / "ids.txt"
    listed.write_text("clothes_dev/1.png\nclothes_dev/2.png\n")
    out = tmp_path / "report.json"
    common = ("--model", "promptseg-test", "--data", data_dir, "--set", "clothes_dev", *ENGINE)
    assert run_command(*common, "--only", listed, "--limit", 1, "--out", out).exit_code == 0
    assert json.loads(out.read_text())["reports"][0]["num_images"] == 1
    listed.write_text("elsewhere.png\n")
    result = run_command(*common, "--only", listed)
    assert isinstance(result.exception, DataError)
    assert str(result.exception) == "not one of the 4 images of clothes_dev is chosen"


def test_command_refuses_to_fix_thresholds_on_an_evaluation_set(data_dir, tmp_path):
    result = run_command("--data", data_dir, "--set", "clothes_dev", "--fit-thresholds", tmp_path / "t.json")
    assert isinstance(result.exception, DataError)
    assert "evaluation set" in str(result.exception)


def test_command_writes_thresholds_or_says_that_there_are_none(data_dir, tmp_path):
    # A random model tells words apart, in an order of its own: either what is there scores higher, or what is not.
    for index in range(4):
        shutil.copy(paint(tmp_path / "blue.png", {"blue": block(0, 0, 5, 5)}), tmp_path / f"shapes/blue-{index}.png")
    records = [record_of(f"shapes/blue-{index}.png", {"blue": block(0, 0, 5, 5)}) for index in range(4)]
    (tmp_path / "others.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    path = tmp_path / "thresholds.json"
    written = []
    for name in ("shapes", "others"):
        result = run_command(
            "--model", "promptseg-test", "--data", data_dir, "--set", name, "--fit-thresholds", path, *ENGINE
        )
        if result.exit_code == 0:
            written.append(json.loads(path.read_text()))
            assert json.loads(result.stdout) == written[-1]
            assert written[-1]["sets"] == [name]
        else:
            assert isinstance(result.exception, DataError)
            assert "presence is not higher for what is there" in str(result.exception)
    assert written
    assert set(written[0]) >= {"mask_threshold", "presence_threshold", "presence_calibration", "mean_iou"}

"""`promptseg evaluate-benchmark` from the command line, with models that have real parts."""

import json
from functools import partial

import numpy as np
import pytest
from benchmark_trees import (
    write_coco_20i,
    write_grefcoco,
    write_pascal_5i,
    write_phrasecut,
    write_refcoco,
    write_voc,
)


@pytest.fixture
def evaluate(promptseg):
    return partial(promptseg, "evaluate-benchmark")


def arguments_of(benchmark, root, *, model="promptseg-test"):
    return benchmark, "--data", root, "--model", model, "--engine", "torch", "--device", "cpu"


def write_zero_shot(root):
    write_voc(root, "SegmentationClass", [(1, 10), (14, 15)])
    return root


@pytest.mark.parametrize(
    ("benchmark", "write", "number"),
    [
        ("phrasecut", write_phrasecut, "miou_paper@0.3"),
        ("refcoco", write_refcoco, "oiou"),
        ("grefcoco", write_grefcoco, "n_acc_gated"),
        ("pascal-zs", write_zero_shot, "miou_seen_paper"),
    ],
)
def test_text_prompts_are_measured_and_everything_is_reported(evaluate, tmp_path, benchmark, write, number):
    root, out = write(tmp_path / "data"), tmp_path / "report.json"
    code, table, err = evaluate(*arguments_of(benchmark, root), "--out", out)
    assert code == 0, err
    assert "this run beside what was published" in " ".join(table.split())
    assert "(1) " in table
    (report,) = json.loads(out.read_text())["reports"]
    assert report["failures"] == {}
    assert report["run"]["model"] == "promptseg-test"
    assert 0 <= report["numbers"][number]["value"] <= 1
    assert all(row["source"] for row in report["published"])
    lines = (tmp_path / f"report.{benchmark}.jsonl").read_text().splitlines()
    assert len(lines) == report["num_images"]


@pytest.mark.parametrize(
    ("benchmark", "write", "options"),
    [
        ("pascal-5i", write_pascal_5i, ("--limit", 4)),
        ("coco-20i", write_coco_20i, ("--limit", 4, "--fold", 0)),
        ("phrasecut", write_phrasecut, ("--prompt", "exemplar")),
    ],
)
def test_exemplar_prompts_are_measured(evaluate, tmp_path, benchmark, write, options):
    root, out = write(tmp_path / "data"), tmp_path / "report.json"
    code, _, err = evaluate(*arguments_of(benchmark, root, model="clipseg-test"), *options, "--out", out)
    assert code == 0, err
    (report,) = json.loads(out.read_text())["reports"]
    assert "exemplar prompts" in report["data_set"]
    assert np.isfinite(report["numbers"]["iou_bin_paper@0.3"]["value"])


def test_exemplars_are_refused_by_a_model_that_does_not_take_them(evaluate, tmp_path):
    code, _, err = evaluate(*arguments_of("coco-20i", write_coco_20i(tmp_path), model="promptseg-s1-test"), "--fold", 0)
    assert code == 2
    assert err.splitlines()[-1].startswith("error: promptseg-s1-test takes text prompts, no exemplar prompts")
    assert "clipseg" in err


def test_a_broken_image_ends_with_code_1_and_its_name(evaluate, tmp_path):
    root = write_phrasecut(tmp_path)
    victim = root / "VGPhraseCut_v0/images/101.jpg"
    victim.write_bytes(victim.read_bytes()[:-300])
    code, _, err = evaluate(*arguments_of("phrasecut", root))
    assert code == 1
    assert "error: phrasecut/101: ImageError" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ade20k",), "no benchmark is named 'ade20k'; there are phrasecut"),
        (("refcoco", "--split", "val"), "refcoco has no split 'val'; it has unc/val"),
        (("phrasecut",), "no file refer_test.json"),
        (("phrasecut", "--device", "tpu"), "'tpu' is no device"),
        (("phrasecut", "--set", "coco_dev"), "No such option: --set"),
        ((), "Missing argument 'NAME'"),
    ],
)
def test_a_wrong_request_is_refused_before_a_model_is_loaded(evaluate, tmp_path, arguments, message):
    code, out, err = evaluate("--data", tmp_path, *arguments)
    assert (code, out) == (2, "")
    said = " ".join(err.replace("│", " ").split())
    assert message in said


def test_the_old_spelling_works_and_names_the_new_one(promptseg, tmp_path):
    root = write_phrasecut(tmp_path / "data")
    old = promptseg("evaluate", "--benchmark", *arguments_of("phrasecut", root))
    new = promptseg("evaluate-benchmark", *arguments_of("phrasecut", root))
    assert (old.code, old.out) == (new.code, new.out) == (0, new.out)
    notices = [line for line in old.err.splitlines() if line.startswith("deprecated: ")]
    assert len(notices) == 1 and "promptseg evaluate-benchmark NAME" in notices[0]
    assert "deprecated" not in new.err

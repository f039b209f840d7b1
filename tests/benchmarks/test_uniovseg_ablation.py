"""The ablation of Uni-OVSeg as one command: a tiny random model, drawn pairs and two images of COCO's layout."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from map_trees import write_tree
from PIL import Image

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "uniovseg_ablation.py"
NAMES = ("cat", "dog", "lamp", "sofa")

# The variants of the real recipe, with the tiny model in the full one's place.
TINY_RECIPE = f"""
import sys
from dataclasses import replace
from pathlib import Path

from promptseg.models.registry import find_row
from promptseg.train.recipe import load_recipe

load_recipe(Path({str(ROOT / "recipes" / "uniovseg_align.py")!r}))
ABLATIONS = sys.modules["promptseg_recipe_uniovseg_align"].ABLATIONS


def recipe(variant):
    full = ABLATIONS[variant]
    sizes = tuple({{896: 32, 1024: 64}}[size] for size in full.settings.input_sizes)
    settings = replace(full.settings, input_sizes=sizes, points_per_side=4, min_score=0.3, confident_share=1.0)
    config = replace(full.config, batch_size=2, precision="32-true", num_workers=0)
    return replace(full, model=find_row("uniovseg-test").config, config=config, settings=settings).recipe()
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ablation")
    write_tree("coco-panoptic", root / "coco")
    (root / "pairs").mkdir()
    (root / "tiny.py").write_text(TINY_RECIPE)
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "pairs" / f"{index}.png")
    lines = [f"A {NAMES[index]} and a {NAMES[(index + 1) % 4]}.\t{index}.png" for index in range(4)]
    (root / "pairs" / "pairs.tsv").write_text("\n".join(lines))
    return root


def run(data: Path, *options: object) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, SCRIPT, "--pairs", data / "pairs", "--init", "uniovseg-test", "--coco", data / "coco",
        "--out", data / "runs", "--recipe", data / "tiny.py", "--steps", 2, "--accelerator", "cpu",
        "--engine", "torch", *options,
    ]  # fmt: skip
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_each_row_is_trained_and_measured_beside_the_papers(data: Path) -> None:
    first = run(data, "--variants", "baseline", "parser", "refined", "multi-scale")
    assert first.returncode == 0, first.stderr
    lines = [json.loads(line) for line in first.stdout.splitlines() if line.startswith("{")]
    assert [line["variant"] for line in lines] == ["baseline", "parser", "refined", "multi-scale"]
    assert [line["published"]["COCO PQ"] for line in lines] == [13.2, 14.1, 15.6, 18.0]
    for line in lines[:2]:
        assert 0 <= line["COCO mIoU"] <= 100 and "PC-59 mIoU" not in line
    assert lines[2]["not_run"].endswith("has no captions.jsonl")
    assert lines[3]["not_run"].endswith("has no captions.jsonl and no entities.jsonl")
    assert "refined: not run" in first.stdout and "arXiv:2402.08960v1, table 4" in first.stdout
    assert not (data / "runs" / "baseline" / "best").exists(), "the baseline is not trained"

    captions = [json.dumps({"image": f"{index}.png", "captions": ["A parrot."]}) for index in range(4)]
    (data / "pairs" / "captions.jsonl").write_text("\n".join(captions))
    trained = (data / "runs" / "parser" / "final" / "model.safetensors").stat().st_mtime_ns
    again = run(data, "--variants", "parser", "refined", "--resume")
    assert again.returncode == 0, again.stderr
    rows = [json.loads(line) for line in again.stdout.splitlines() if line.startswith("{")]
    assert rows[0] == lines[1], "what is done is not done again"
    assert (data / "runs" / "parser" / "final" / "model.safetensors").stat().st_mtime_ns == trained
    assert "not_run" not in rows[1] and (data / "runs" / "refined" / "best").is_dir()


def test_a_run_that_fails_is_named(data: Path) -> None:
    ended = run(data, "--variants", "baseline", "--coco", data / "nowhere", "--out", data / "other")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("promptseg evaluate-benchmark coco-panoptic")

"""The recipes of the repository, run through the command."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from promptseg.cli.main import main
from promptseg.data.refcoco_m import split_of
from promptseg.models.build import build_pretrained
from promptseg.models.registry import MODELS, find_row, load_network
from promptseg.ops.rle import encode_rle
from promptseg.train.log import read_log
from promptseg.train.loop import train
from promptseg.train.pixel_text.batches import PixelTextSettings
from promptseg.train.recipe import load_recipe
from promptseg.train.run import RunOptions

RECIPES = Path(__file__).parents[2] / "recipes"


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("shapes")


def test_tiny_learns_and_leaves_a_model_that_loads(shapes, tmp_path, capsys):
    out = tmp_path / "run"
    assert run("train", RECIPES / "tiny.py", "--data", shapes, "--out", out, "--accelerator", "cpu") == 0
    outcome = json.loads(capsys.readouterr().out)
    lines = read_log(out / "log.jsonl")
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    ious = [line["iou"] for line in lines if line["kind"] == "validation"]
    assert outcome["steps"] == 40 and losses[0] > 1.5 and losses[-1] < 1.1
    assert outcome["iou"] == max(ious) > 0.25 > ious[0]
    plots = {path.name for path in (out / "plots").iterdir()}
    assert plots == {"loss.png", "iou.png", "iou_distribution.png", "prompt_length.png", "gallery.png"}

    recipe = load_recipe(RECIPES / "tiny.py")
    _, validation = recipe.build_data(shapes, None)
    with torch.no_grad():
        assert recipe.validate(load_network(outcome["best"]), validation)["iou"] == pytest.approx(
            outcome["iou"], abs=1e-4
        )


def test_tiny_trains_on_cached_features(shapes, tmp_path):
    out, cache = tmp_path / "run", tmp_path / "cache"
    command = ("train", RECIPES / "tiny.py", "--data", shapes, "--accelerator", "cpu", "--steps", "4", "--cache", cache)
    assert run(*command, "--out", out) == 0
    assert len(list(cache.rglob("*.safetensors"))) == 2 * 96 + 24  # flipped too for training, plain for validation
    assert run(*command, "--out", tmp_path / "small", "--cache-gb", "0") == 0, "what is there needs no room"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "nowhere.py", "--data", ".", "--out", "run"), "error: nowhere.py is not a recipe"),
        (("train", RECIPES / "tiny.py", "--data", "nowhere", "--out", "run"), "data directory nowhere does not exist"),
        (("train", RECIPES / "tiny.py", "--data", ".", "--out", "run", "--resume"), "there is no run to resume in run"),
        (("train", RECIPES / "tiny.py", "--data", ".", "--out", "run", "--steps", "0"), "steps must be more than 0"),
        (("train", RECIPES / "tiny.py", "--data", ".", "--out", "file"), "error: file can't be made"),
        (
            ("train", RECIPES / "tiny.py", "--data", ".", "--out", "run", "--steps", "1", "--epochs", "1"),
            "give --epochs or --steps, not both",
        ),
    ],
)
def test_bad_requests_end_with_one_line_and_code_2(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("in the way")
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err


def test_s1_has_the_published_hyperparameters():
    config = load_recipe(RECIPES / "promptseg_s1.py").config
    assert (config.betas, config.weight_decay, config.learning_rate) == ((0.9, 0.999), 1e-2, 2e-4)
    assert config.lr_multipliers == {"neck": 0.5} and config.warmup_epochs == 2 and config.final_lr_ratio == 0.0
    assert (config.batch_size, config.epochs, config.clip_norm, config.precision) == (32, 20, 1.0, "bf16-mixed")
    # The published 15,138 training samples make 473 steps an epoch.
    assert 15_138 // config.batch_size == 473 and config.total_steps(473) == 9_460
    assert MODELS["promptseg-s1"].num_trained == pytest.approx(9.3e6, rel=0.03)


def test_the_recipe_of_the_documentation_runs(shapes, tmp_path):
    load_recipe(RECIPES / "tiny.py").build_data(shapes, None)  # draws the images
    text = (RECIPES.parent / "docs" / "training.md").read_text().split("```python\n")[1].split("```")[0]
    assert 'load_network("promptseg")' in text and "(512, 512)" in text
    (tmp_path / "mine.py").write_text(text.replace('"promptseg"', '"promptseg-test"').replace("512", "96"))
    out = tmp_path / "run"
    command = ("train", tmp_path / "mine.py", "--data", shapes / "train", "--out", out, "--accelerator", "cpu")
    assert run(*command, "--steps", "2") == 0
    assert (out / "best" / "config.json").exists()


@pytest.fixture
def refcoco_m(tmp_path) -> Path:
    """Images of all three splits in the publishers' layout."""
    rows = []
    for image_id in range(40):
        stream = io.BytesIO()
        Image.new("RGB", (64, 48), (image_id * 6, 90, 60)).save(stream, "PNG")
        mask = np.zeros((48, 64), dtype=bool)
        mask[10:30, 5:40] = True
        annotation = {
            "id": image_id, "image_id": image_id, "category": "dog", "supercategory": "animal", "label": "dog",
            "sentences": ["left dog", f"dog number {image_id}"], "bbox": [5.0, 10.0, 35.0, 20.0],
            "mask": encode_rle(mask),
        }  # fmt: skip
        image = {"bytes": stream.getvalue(), "path": "x.png"}
        rows.append({"image": image, "image_id": image_id, "file_name": "x.png", "samples": [annotation]})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "validation-00000.parquet")
    return tmp_path


def test_s1_runs_on_refcoco_m_with_small_towers(refcoco_m, tmp_path):
    recipe = load_recipe(RECIPES / "promptseg_s1.py")
    source, validation = recipe.build_data(refcoco_m, None)
    num_train = sum(split_of(image_id) == "train" for image_id in range(40))
    assert len(source) == 3 * 2 * num_train and {len(sample.targets) for sample in source.samples} == {1}
    assert not {s.sample_id for s in source.samples} & {s.sample_id for s in validation.samples}

    config = replace(recipe.config, epochs=None, steps=3, batch_size=4, num_workers=0, precision="32-true")
    small = replace(
        recipe, config=config, build_model=lambda: build_pretrained(find_row("promptseg-test-vit").config), examine=None
    )
    options = RunOptions(data_dir=refcoco_m, out_dir=tmp_path / "run", accelerator="cpu", show_progress=False)
    assert train(small, options).steps == 3
    line = read_log(tmp_path / "run" / "log.jsonl")[-2]
    assert line["absent"] == 0.0 and line["learning_rate"] == pytest.approx(2e-4 * 3 / (2 * (len(source) // 4)))


def test_pixel_text_reads_a_folder_and_trains_its_names(shapes, tmp_path):
    load_recipe(RECIPES / "tiny.py").build_data(shapes, None)  # draws the images
    loaded = load_recipe(RECIPES / "pixel_text.py")
    training = sys.modules["promptseg_recipe_pixel_text"].TRAINING
    small = replace(
        training,
        model=MODELS["promptseg-test-dense"].config,
        pretrained=False,
        settings=PixelTextSettings(side=96, reference_side=96),
        config=replace(
            loaded.config, steps=2, batch_size=2, num_workers=0, precision="32-true", evaluate_every=2,
            lr_multipliers={"neck": 0.2},
        ),
    )  # fmt: skip
    options = RunOptions(data_dir=shapes / "train", out_dir=tmp_path / "run", accelerator="cpu", show_progress=False)
    assert train(small.recipe(), options).steps == 2
    model = load_network(tmp_path / "run" / "best")
    assert set(model.config.trained_names) <= set(sys.modules["promptseg_recipe_tiny"].PHRASES)

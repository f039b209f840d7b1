"""`promptseg finetune` on drawn shapes: it improves the model, the model loads, and problems are reported."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import promptseg
from promptseg.cli.main import main
from promptseg.data.folder import read_folder
from promptseg.errors import DataError, RecipeError
from promptseg.models.build import build_pretrained
from promptseg.models.registry import find_row, load_network, segment_with
from promptseg.prompts import Query, TextPrompt
from promptseg.train.finetune import FITTED, FinetuneSettings, check_model, finetune, split_images
from promptseg.train.recipe import load_recipe

RECIPES = Path(__file__).parents[2] / "recipes"
MODEL = ("--model", "promptseg-test-dense", "--engine", "torch", "--offline")


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    load_recipe(RECIPES / "tiny.py").build_data(root, None)  # draws the images
    return root / "validation"


def test_the_new_model_is_better_and_loads(shapes, tmp_path, capsys):
    out = tmp_path / "mine"
    assert run("finetune", shapes, "--out", out, *MODEL, "--steps", "100", "--learning-rate", "0.03") == 0
    said = capsys.readouterr()
    record = json.loads((out / "finetune.json").read_text())
    assert record["after"]["iou"] > record["before"]["iou"] + 0.03
    assert record["loss"][1] < record["loss"][0]
    assert f"{record['before']['iou']:.3f}  {record['after']['iou']:.3f}" in said.out
    assert len(record["held_out"]) == 5 and len(record["trained_on"]) == 19
    assert not set(record["held_out"]) & set(record["trained_on"])
    with Image.open(out / "before-after.png") as drawn:
        assert drawn.width > 1000

    model = promptseg.load(out, device="cpu", engine="torch")
    assert len(model.segment(shapes / "images" / "000.png", ["red circle", "blue square"])) == 2
    assert run("predict", shapes / "images" / "000.png", "--model", out, "--text", "red circle") == 0

    assert run("finetune", shapes, "--out", out, *MODEL) == 2
    assert "exists already: choose another --out" in capsys.readouterr().err


def test_the_seed_decides_the_result_and_only_the_fitted_parameters_change(shapes):
    parts = split_images(read_folder(shapes).samples, one_in=5)
    settings = FinetuneSettings(steps=3, crops=1, keep_weight=0.0)
    models = [check_model(load_network("promptseg-test-dense")) for _ in range(3)]
    first, second = (finetune(model, parts, settings) for model in models[:2])
    assert first == second
    fitted, again, untouched = (model.state_dict() for model in models)
    changed = {name for name, value in fitted.items() if not torch.equal(value, untouched[name])}
    assert all(torch.equal(value, again[name]) for name, value in fitted.items())
    moving = (*FITTED, "dense.mask_shift")
    assert changed and all(name.startswith(moving) for name in changed)


def test_everyday_logits_change_less_with_a_larger_weight(shapes):
    parts = split_images(read_folder(shapes).samples, one_in=5)
    image_rgb = np.array(Image.open(shapes / "images" / "001.png"))
    before = check_model(load_network("promptseg-test-dense"))
    queries = [Query(name, (TextPrompt(name),)) for name in ("dog", "chair")]
    change = []
    for keep_weight in (0.0, 30.0):
        model = check_model(load_network("promptseg-test-dense"))
        finetune(model, parts, FinetuneSettings(steps=30, crops=2, keep_weight=keep_weight))
        segmenters = [segment_with(one) for one in (before, model)]
        logits = [one.segment(one.encode_image(image_rgb), queries).mask_logits for one in segmenters]
        change.append(np.abs(logits[0] - logits[1]).mean())
    assert change[1] < 0.7 * change[0]


def test_images_are_divided_by_name_and_not_by_order(shapes):
    samples = read_folder(shapes).samples
    parts, turned = split_images(samples, one_in=5), split_images(samples[::-1], one_in=5)
    assert parts == turned
    assert sorted(map(len, (parts.train, parts.choose, parts.held_out))) == [3, 5, 16]
    two = split_images(samples[:2], one_in=5)
    assert (len(two.train), len(two.choose), len(two.held_out)) == (1, 0, 1)


def write_image(folder: Path, name: str, mask_hw: tuple[int, int] = (48, 48)) -> None:
    mask = np.zeros(mask_hw, np.uint8)
    mask[8:30, 8:30] = 255
    for path, pixels in (
        (folder / "images" / name, np.full((48, 48, 3), 90, np.uint8)),
        (folder / "masks" / "cup" / name, mask),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def test_bad_folders(tmp_path, capsys):
    command = ("finetune", tmp_path, "--out", tmp_path / "mine", *MODEL)
    assert run(*command) == 2
    assert "no folder 'images'" in capsys.readouterr().err
    write_image(tmp_path, "small.png", (24, 24))
    assert run(*command) == 2
    assert "no image with a mask; for example," in capsys.readouterr().err
    write_image(tmp_path, "a.png")
    assert run(*command) == 2
    said = capsys.readouterr().err
    assert "1 image with a mask is too little" in said
    # a mask of another size is named, left out and counted
    assert "small.png" in said and "the mask is (24, 24)" in said
    assert not (tmp_path / "mine").exists()

    for name in ("b.png", "c.png"):
        write_image(tmp_path, name)
    assert run(*command, "--steps", "2") == 0
    said = capsys.readouterr()
    assert "2 images to train on, 1 held out, 1 file left out" in said.err and "cup" in said.out


@pytest.mark.parametrize("name", ["promptseg-s1-test", "promptseg-test-vit", "clipseg-test"])
def test_other_kinds_of_model_are_refused(name):
    with pytest.raises(RecipeError, match=r"write a recipe: docs/training\.md"):
        check_model(build_pretrained(find_row(name).config))


def test_one_image_is_too_few(shapes):
    with pytest.raises(DataError, match="1 image with a mask is too little"):
        split_images(read_folder(shapes).samples[:1], one_in=5)


def test_a_kept_run_has_a_log_and_can_be_resumed(shapes, tmp_path):
    parts = split_images(read_folder(shapes).samples, one_in=5)
    settings = FinetuneSettings(steps=4, crops=1)
    models = [check_model(load_network("promptseg-test-dense")) for _ in range(2)]
    seen: list[float] = []
    first = finetune(models[0], parts, settings, run_dir=tmp_path / "run", watch=seen.append)
    assert first.losses == seen and len(seen) == 4
    assert {"run.json", "log.jsonl", "state.pt", "final", "plots"} <= {one.name for one in (tmp_path / "run").iterdir()}
    assert finetune(models[1], parts, settings, run_dir=tmp_path / "run", resume=True) == first
    for (name, value), other in zip(models[0].state_dict().items(), models[1].state_dict().values(), strict=True):
        assert torch.equal(value, other), name

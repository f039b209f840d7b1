"""The two recipes with a tiny model on drawn data: the loss falls, an interrupted run ends as an uninterrupted one."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sa1b_tree import draw_sa1b
from safetensors import safe_open
from safetensors.torch import load_file

import promptseg
from promptseg.data.image_text import find_image_texts
from promptseg.errors import DataError, RecipeError
from promptseg.evaluate.benchmarks.promptable import PromptableSettings
from promptseg.models.registry import find_row
from promptseg.models.uniovseg.config import UniOvSegConfig
from promptseg.ops.rle import encode_rle
from promptseg.train.config import TrainConfig
from promptseg.train.log import read_log
from promptseg.train.loop import train
from promptseg.train.recipe import Recipe, load_recipe
from promptseg.train.run import RunOptions
from promptseg.train.unpaired.align_training import AlignTraining
from promptseg.train.unpaired.mask_batches import MaskSource, MaskViewSettings
from promptseg.train.unpaired.mask_objective import MaskObjective
from promptseg.train.unpaired.mask_training import MaskTraining

RECIPES = Path(__file__).parents[3] / "recipes"
TINY = find_row("uniovseg-test").config
assert isinstance(TINY, UniOvSegConfig)


def small(config: TrainConfig, *, learning_rate: float) -> TrainConfig:
    """The published run in 20 steps."""
    return replace(
        config, steps=20, batch_size=2, learning_rate=learning_rate, precision="32-true", evaluate_every=20,
        checkpoint_every=10, log_every=1, num_workers=0,
    )  # fmt: skip


def mask_training() -> MaskTraining:
    load_recipe(RECIPES / "uniovseg_masks.py")
    training = sys.modules["promptseg_recipe_uniovseg_masks"].TRAINING
    assert isinstance(training, MaskTraining)
    return training


def align_training() -> AlignTraining:
    load_recipe(RECIPES / "uniovseg_align.py")
    training = sys.modules["promptseg_recipe_uniovseg_align"].TRAINING
    assert isinstance(training, AlignTraining)
    return training


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_sa1b(tmp_path_factory.mktemp("sa1b"), 14)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pairs")
    names = ("cat", "dog", "lamp", "sofa")
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
    lines = [f"A {names[index % 4]} and a {names[(index + 1) % 4]}.\t{index}.png" for index in range(6)]
    (root / "pairs.tsv").write_text("\n".join(lines))
    return root


def small_masks() -> Recipe:
    training = mask_training()
    return replace(
        training,
        model=TINY,
        config=small(training.config, learning_rate=3e-3),
        settings=MaskViewSettings(side=64, points_per_side=4),
        objective=MaskObjective(num_points=64, matching_cells=16),
        validation=PromptableSettings(points_per_side=None, max_objects=3),
    ).recipe()


def small_align() -> Recipe:
    training = align_training()
    settings = replace(training.settings, input_sizes=(32, 64), points_per_side=4, min_score=0.3, confident_share=1.0)
    config = small(training.config, learning_rate=3e-2)
    return replace(training, model=TINY, config=config, settings=settings).recipe()


def options(data: Path, out: Path, *, resume: bool = False) -> RunOptions:
    return RunOptions(
        data_dir=data, out_dir=out, accelerator="cpu", show_progress=False, draw_plots=False, resume=resume
    )


@pytest.mark.parametrize(("stage", "least_fall"), [("masks", 0.9), ("align", 0.97)])
def test_the_loss_falls_and_a_resumed_run_ends_the_same(
    stage: str, least_fall: float, masks: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, recipe = (masks, small_masks()) if stage == "masks" else (pairs, small_align())
    assert train(recipe, options(data, tmp_path / "whole")).steps == 20
    lines = read_log(tmp_path / "whole" / "log.jsonl")
    losses = [line["loss"] for line in lines if line["kind"] == "train"]
    assert np.mean(losses[-5:]) < least_fall * np.mean(losses[:5])
    validation = next(line for line in lines if line["kind"] == "validation")
    assert np.isfinite(validation["iou" if stage == "masks" else "cosine"])

    step_of, calls = recipe.step, 0

    def interrupted(model: object, batch: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 14:
            raise KeyboardInterrupt
        return step_of(model, batch)

    with pytest.raises(KeyboardInterrupt):
        train(replace(recipe, step=interrupted), options(data, tmp_path / "resumed"))  # type: ignore[arg-type]
    again = small_masks() if stage == "masks" else small_align()
    train(again, options(data, tmp_path / "resumed", resume=True))
    one, other = (load_file(tmp_path / run / "final" / "model.safetensors") for run in ("whole", "resumed"))
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name
    assert promptseg.load(tmp_path / "whole" / "best", engine="torch").prompt_kinds == {"text", "point", "box"}


def draw_index(root: Path, name: str, count: int) -> None:
    """Write an index of images with one bright box each, whose mask a person drew."""
    (root / name).mkdir(parents=True)
    rng, lines = np.random.default_rng(0), []
    for number in range(count):
        pixels, mask = np.full((48, 64, 3), 60, dtype=np.uint8), np.zeros((48, 64), dtype=np.bool_)
        x, y = rng.integers(4, 30, 2)
        mask[y : y + 16, x : x + 24] = True
        pixels[mask] = 220
        Image.fromarray(pixels).save(root / name / f"{number}.png")
        masks = [{"category": "box", "rle": encode_rle(mask), "kind": "thing"}]
        lines.append(json.dumps({"image": f"{name}/{number}.png", "width": 64, "height": 48, "masks": masks}))
    (root / f"{name}.jsonl").write_text("\n".join(lines))


def test_the_small_recipe_learns_from_indexes_and_leaves_a_model_without_names(tmp_path: Path) -> None:
    load_recipe(RECIPES / "uniovseg_lite.py")
    module = sys.modules["promptseg_recipe_uniovseg_lite"]
    for index, name in enumerate(module.SETS):
        draw_index(tmp_path / "data", name, 14 if index == 0 else 2)
    recipe = replace(
        module.TRAINING,
        model=replace(TINY, image_tower="conv-test", text_tower=None, placed_features=True),
        config=small(module.TRAINING.config, learning_rate=3e-3),
        settings=replace(module.TRAINING.settings, side=64, points_per_side=3),
        objective=replace(module.TRAINING.objective, num_points=64, matching_cells=16),
    ).recipe()
    source, held_out = recipe.build_data(tmp_path / "data", None)
    assert isinstance(source, MaskSource) and len(held_out) == 2
    assert not {one.sample_id for one in held_out} & {one.sample_id for one in source.samples}
    assert len(source) == sum(module.SETS.values()) * 2 + module.SETS["coco_train"] * (14 - 2 - 2)
    train(recipe, options(tmp_path / "data", tmp_path / "run"))
    losses = [line["loss"] for line in read_log(tmp_path / "run" / "log.jsonl") if line["kind"] == "train"]
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert promptseg.load(tmp_path / "run" / "best", engine="torch").prompt_kinds == {"point", "box"}


def test_the_small_recipe_starts_from_the_default_models_tower() -> None:
    load_recipe(RECIPES / "uniovseg_lite.py")
    model = sys.modules["promptseg_recipe_uniovseg_lite"].build_model()
    stored = Path(promptseg.__file__).parent / "checkpoints" / "promptseg" / "model.safetensors"
    with safe_open(stored, framework="pt") as weights:
        for name, value in model.image_tower.state_dict().items():
            assert torch.equal(value, weights.get_tensor(f"image_tower.first.{name}")), name
    trained = {name.split(".")[0] for name, one in model.named_parameters() if one.requires_grad}
    assert trained == {"pixel_decoder", "prompts", "mask_decoder", "place"}


def test_masks_recipe_has_the_published_numbers() -> None:
    training = mask_training()
    config, settings, objective = training.config, training.settings, training.objective
    assert (config.steps, config.batch_size, config.learning_rate, config.weight_decay) == (60_000, 56, 1e-4, 0.05)
    assert (config.lr_drops, config.clip_norm, config.warmup_epochs) == ((0.85, 0.95), 1.0, 0.0)
    assert [round(share * 60_000) for share in config.lr_drops or ()] == [51_000, 57_000]
    assert (settings.side, settings.scale, settings.points_per_side, settings.max_masks) == (1024, (0.8, 1.2), 10, 40)
    assert (objective.num_points, objective.oversampling, objective.uncertain_share) == (12_544, 3.0, 0.75)
    assert objective.matching_cells == 128 and training.model is None


def test_align_recipe_has_the_published_numbers() -> None:
    training = align_training()
    assert training.settings.input_sizes == (896, 1024) and len(training.settings.templates) == 14
    assert training.settings.confident_share == 0.25, "ours; the paper keeps all pairs"
    masks_config = mask_training().config
    for name in ("steps", "batch_size", "learning_rate", "weight_decay", "lr_drops", "clip_norm"):
        assert getattr(training.config, name) == getattr(masks_config, name), "the same recipe as the first stage"


def test_each_stage_trains_its_own_part() -> None:
    trained = {
        stage: {n.split(".")[0] for n, p in training.build_model().named_parameters() if p.requires_grad}
        for stage, training in (
            ("masks", replace(mask_training(), model=TINY)), ("align", replace(align_training(), model=TINY))
        )
    }  # fmt: skip
    assert trained == {"masks": {"pixel_decoder", "prompts", "mask_decoder"}, "align": {"adapter"}}


def test_codes_are_not_decayed() -> None:
    from promptseg.train.optim import build_optimizer

    training = replace(mask_training(), model=TINY)
    model = training.build_model()
    optimizer = build_optimizer(model, training.config)
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    undecayed = {n for n, p in model.named_parameters() if p.requires_grad and decays[id(p)] == 0 and p.ndim > 1}
    assert undecayed == {
        "prompts.corner_codes", "prompts.label_codes", "prompts.granularity_codes", "pixel_decoder.level_codes",
        "mask_decoder.level_codes",
    }  # fmt: skip


def test_a_language_models_entities_and_captions_are_used_where_they_are(pairs: Path, tmp_path: Path) -> None:
    for path in pairs.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "entities.jsonl").write_text('{"image": "1.png", "entities": ["spotted dog"]}')
    (tmp_path / "captions.jsonl").write_text('{"image": "2.png", "captions": ["A parrot."]}')
    images = align_training().read(tmp_path, None)
    assert images.entities == {"1.png": ("spotted dog",)}
    captions = {sample.sample_id: sample.captions for sample in images.train}
    assert captions["2.png"] == ("A parrot.",) and captions["1.png"] == ("A dog and a lamp.",)
    held_out = {sample.sample_id for sample in images.validation}
    assert held_out == {"0.png"} and not held_out & captions.keys()
    assert len(find_image_texts(tmp_path)) == 6


def test_each_ablation_adds_one_thing(pairs: Path, tmp_path: Path) -> None:
    align_training()
    ablations = sys.modules["promptseg_recipe_uniovseg_align"].ABLATIONS
    assert [ablation.settings.input_sizes for ablation in ablations.values()] == [(1024,)] * 3 + [(896, 1024)]
    for path in pairs.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(DataError, match=r"captions\.jsonl: can't be read"):
        ablations["refined"].read(tmp_path, None)
    (tmp_path / "captions.jsonl").write_text('{"image": "2.png", "captions": ["A parrot."]}')
    with pytest.raises(DataError, match=r"entities\.jsonl: can't be read"):
        ablations["multi-scale"].read(tmp_path, None)
    (tmp_path / "entities.jsonl").write_text('{"image": "1.png", "entities": ["spotted dog"]}')

    read = {name: ablation.read(tmp_path, None) for name, ablation in ablations.items()}
    assert [len(images.entities) for images in read.values()] == [0, 0, 1, 1]
    captions = [{one.sample_id: one.captions for one in images.train}["2.png"] for images in read.values()]
    assert captions == [("A lamp and a sofa.",)] + [("A parrot.",)] * 3


def test_an_unknown_ablation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="'none'; there are parser, refined, language-model, multi-scale"):
        load_recipe(RECIPES / "uniovseg_align.py:none")

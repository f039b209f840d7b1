"""CLIPSeg's recipes: the published numbers, and runs on tiny data in the real layouts with tiny towers."""

import pickle
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from benchmark_trees import write_phrasecut, write_refcoco

import promptseg
from promptseg.data.phrasecut import read_phrasecut
from promptseg.encoders.pixels import to_pixels
from promptseg.errors import DataError, RecipeError
from promptseg.models.build import build_pretrained
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.registry import MODELS, find_row
from promptseg.train.conditional import ConditionalSource, ConditionalTraining, conditional_step
from promptseg.train.log import read_log
from promptseg.train.loop import train
from promptseg.train.phrasecut_plus import PROMPT_TEMPLATES, PlusOptions, PlusQuestions
from promptseg.train.recipe import load_recipe
from promptseg.train.run import RunOptions

RECIPES = Path(__file__).parents[2] / "recipes"


def trainings(name: str) -> dict[str, ConditionalTraining]:
    """What a recipe file is made of, by variant."""
    load_recipe(RECIPES / f"{name}.py")
    module = sys.modules[f"promptseg_recipe_{name}"]
    return {"": module.TRAINING, **getattr(module, "ABLATIONS", {})}


@pytest.fixture(scope="module")
def phrasecut(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("phrasecut")
    write_phrasecut(root, "miniv")
    return write_phrasecut(root, "train")


@pytest.fixture(scope="module")
def refcoco(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("refcoco")
    refs = []
    for split in ("val", "train"):
        write_refcoco(root, split=split)
        refs += pickle.loads((root / "refcoco" / "refs(unc).p").read_bytes())
    (root / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps(refs))
    return root


def test_the_recipes_have_the_published_numbers():
    (pc,), plus, (film,) = (
        trainings("clipseg_pc").values(),
        trainings("clipseg_pc_plus"),
        trainings("clipseg_film_refcoco").values(),
    )
    for training in (pc, plus[""]):
        config = training.config
        assert (config.steps, config.batch_size, config.precision) == (20_000, 64, "16-mixed")
        assert config.learning_rate * config.final_lr_ratio == pytest.approx(1e-4) and config.learning_rate == 1e-3
        assert config.warmup_epochs == 0 and config.betas == (0.9, 0.999) and config.weight_decay == 1e-2
        # PhraseCut is trained with the threshold of the published checkpoint, .3
        assert training.model is MODELS["clipseg-rd64"].config
        assert training.model == ClipSegConfig(
            image_layers=(3, 7, 9), dim=64, head="simple", visual_prompt="crop-blur-10", image_size=352
        )
    assert pc.questions == PlusOptions(0.0, exemplars=False, templates=PROMPT_TEMPLATES, crops=True)
    assert plus[""].questions == PlusOptions(0.2, exemplars=True) and plus[""].text_shares == (0.0, 0.5)
    assert film.model is MODELS["clipseg-film"].config
    assert (film.model.head, film.model.image_size, film.model.mlp_dim, film.model.num_heads) == ("linear", 224, 256, 8)
    assert (film.config.learning_rate, film.config.final_lr_ratio, film.config.weight_decay) == (1e-3, 1.0, 0.0)

    assert list(plus) == ["", "no-clip", "no-visual", "d16", "layer-3", "highlight"]
    changed = {
        name: {field for field in vars(one) if getattr(one, field) != getattr(plus[""], field)}
        for name, one in plus.items()
        if name
    }
    assert changed == {
        "no-clip": {"pretrained", "model", "config"}, "no-visual": {"questions"}, "d16": {"model"},
        "layer-3": {"model"}, "highlight": {"model"},
    }  # fmt: skip
    low = plus["no-clip"].config
    assert (low.learning_rate, low.learning_rate * low.final_lr_ratio) == pytest.approx((3e-4, 1e-4))


@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("clipseg_pc", ""),
        *(("clipseg_pc_plus", one) for one in ("", "no-clip", "no-visual", "d16", "layer-3", "highlight")),
        ("clipseg_film_refcoco", ""),
    ],
)
def test_twenty_steps_with_tiny_towers(name, variant, request, tmp_path):
    training = trainings(name)[variant]
    data = request.getfixturevalue("refcoco" if "refcoco" in name else "phrasecut")
    layers = (0, 2, 3)[: len(training.model.image_layers)]
    tiny = replace(
        training,
        model=replace(
            training.model, image_tower="clip-test", text_tower="bytes-test", image_layers=layers, image_size=64
        ),
        config=replace(
            training.config, epochs=None, steps=20, batch_size=4, precision="32-true", evaluate_every=20, log_every=2,
            num_workers=0,
        ),
    )  # fmt: skip
    options = RunOptions(data_dir=data, out_dir=tmp_path / "run", accelerator="cpu", show_progress=False)
    assert train(tiny.recipe(), options).steps == 20
    losses = [line["loss"] for line in read_log(tmp_path / "run" / "log.jsonl") if line["kind"] == "train"]
    assert np.mean(losses[-3:]) < 0.95 * losses[0]
    model = promptseg.load(tmp_path / "run" / "final", device="cpu", engine="torch")
    assert len(model.segment(np.zeros((24, 32, 3), np.uint8), ["red chair", "dog"])) == 2


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (RECIPES / "clipseg_pc_plus.py:no-ears", "no ablation is called 'no-ears'; there are no-clip, no-visual"),
        (RECIPES / "clipseg_pc.py:d16", "has no variants, so none called 'd16'"),
        (RECIPES / "nowhere.py:d16", "nowhere.py is not a recipe"),
    ],
)
def test_variants_that_do_not_exist_are_named(path, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def source(data: Path, **options) -> ConditionalSource:
    questions = PlusQuestions(read_phrasecut(data, "train"), PlusOptions(**options))
    return ConditionalSource(questions, side=64, visual_prompt="crop-blur-10", text_shares=(0.25, 0.5))


def test_items_follow_from_their_generator_and_shares_from_their_range(phrasecut):
    drawn = [source(phrasecut).item(index % 8, np.random.default_rng(index)) for index in range(80)]
    again = [source(phrasecut).item(index % 8, np.random.default_rng(index)) for index in range(80)]
    for one, other in zip(drawn, again, strict=True):
        assert np.array_equal(one.image_rgb, other.image_rgb) and one.text_share == other.text_share
        # what is there has an example if another image shows it too, and only the red chair is in several
        if one.mask.any():
            assert (one.example_rgb is None) == ("red chair" not in one.text)
        assert one.text_share == 1.0 if one.example_rgb is None else 0.25 <= one.text_share <= 0.5
        assert one.image_rgb.shape == (64, 64, 3) and one.mask.shape == (64, 64)
    empty = sum(not one.mask.any() for one in drawn)
    assert 4 <= empty <= 32  # Binomial(80, 0.2)


def test_the_loss_is_that_of_each_question_by_itself(phrasecut):
    """The mixture and its order, against one image at a time and the published formula."""
    torch.manual_seed(0)
    model = build_pretrained(find_row("clipseg-test").config).eval()
    items = [source(phrasecut).item(index, np.random.default_rng(index)) for index in range(8)]
    assert 0 < sum(item.example_rgb is not None for item in items) < 8

    def normalized(image_rgb: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(to_pixels(image_rgb, (model.side, model.side), model.pixel_statistics))

    batch = source(phrasecut).collate(items)
    losses = []
    for item in items:
        condition = model.embed_texts([item.text])
        if item.example_rgb is not None:
            shown = model.embed_images(normalized(item.example_rgb))
            condition = condition * item.text_share + shown * (1 - item.text_share)
        logits = model(normalized(item.image_rgb), condition)
        losses.append(F.binary_cross_entropy_with_logits(logits, torch.from_numpy(item.mask)[None].float()))
    with torch.no_grad():
        assert conditional_step(model, batch)["loss"].item() == pytest.approx(
            torch.stack(losses).mean().item(), abs=1e-6
        )
    assert batch.to(torch.device("cpu")).sample_ids == batch.sample_ids


def test_what_can_not_be_trained_on_is_refused(phrasecut):
    samples = read_phrasecut(phrasecut, "train")
    with pytest.raises(DataError, match="none of 4 images has a phrase with a mask"):
        PlusQuestions([replace(sample, targets=()) for sample in samples])
    for changes, message in (
        ({"visual_prompt": "mask-cls"}, "a visual prompt that changes pixels"),
        ({"text_shares": (0.5, 0.2)}, "the lower first"),
    ):
        with pytest.raises(RecipeError, match=message):
            replace(source(phrasecut), **changes)

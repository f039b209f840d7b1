"""A complete run in seconds: a tiny random model learns colored shapes on images that this file draws.

Command:   promptseg train recipes/tiny.py --data /tmp/shapes --out runs/tiny
           (--data: an existing directory, empty or from an earlier run)
Hardware:  one CPU core, about 10 s
Expected:  40 steps; the loss falls from about 1.8 to below 1.0, validation IoU rises from about .1 to above .4
           (tests/train/test_recipes.py checks this)
Use:       to check that an installation trains, resumes, saves and draws. The model has no other use.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from promptseg.data.folder import read_folder
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.registry import find_row
from promptseg.train.config import TrainConfig
from promptseg.train.objectives import (
    LossWeights,
    cache_phrase_features,
    examine_phrases,
    phrase_step,
    validate_phrases,
)
from promptseg.train.recipe import Recipe
from promptseg.train.samples import PhraseSource, SampleOptions

SIDE = 96
COLORS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 80, 220)}
SHAPES = ("circle", "square")
PHRASES = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)
OPTIONS = SampleOptions(
    image_hw=(SIDE, SIDE), mask_hw=(SIDE // 2, SIDE // 2), num_present=2, num_absent=1, horizontal_flip=0.5
)


def draw_shapes(directory: Path, num_images: int, seed: int) -> None:
    """Draw images of two shapes each, with a mask for each shape and a black mask for an absent phrase."""
    rng = np.random.default_rng(seed)
    for number in range(num_images):
        gray = int(rng.integers(90, 190))
        image = Image.new("RGB", (SIDE, SIDE), (gray, gray, gray))
        left, right, absent = rng.choice(PHRASES, size=3, replace=False)
        masks = {phrase: Image.new("L", (SIDE, SIDE)) for phrase in (left, right, absent)}
        for phrase, x in ((left, 0), (right, SIDE // 2)):
            size = int(rng.integers(24, 44))
            x0, y0 = x + int(rng.integers(0, SIDE // 2 - size)), int(rng.integers(0, SIDE - size))
            color, shape = phrase.split(" ")
            for canvas, fill in ((image, COLORS[color]), (masks[phrase], 255)):
                pencil = ImageDraw.Draw(canvas)
                (pencil.ellipse if shape == "circle" else pencil.rectangle)((x0, y0, x0 + size, y0 + size), fill=fill)
        _save(image, directory / "images" / f"{number:03d}.png")
        for phrase, mask in masks.items():
            _save(mask, directory / "masks" / phrase / f"{number:03d}.png")


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def build_model() -> PromptSegNetwork:
    """Build the tiny test model."""
    config = find_row("promptseg-test").config
    assert isinstance(config, PromptSegConfig)  # the row of a network like the default's
    return PromptSegNetwork(config)


def build_data(data_dir: Path, pseudo_dir: Path | None) -> tuple[PhraseSource, PhraseSource]:
    """Draw the images if they are missing, and read them; pseudo-masks are not used."""
    for name, num_images, seed in (("train", 96, 0), ("validation", 24, 1)):
        if not (data_dir / name).exists():
            draw_shapes(data_dir / name, num_images, seed)
    train = PhraseSource(read_folder(data_dir / "train").samples, OPTIONS)
    return train, PhraseSource(read_folder(data_dir / "validation").samples, OPTIONS.plain())


def recipe() -> Recipe:
    """Return the recipe that `promptseg train` runs."""
    return Recipe(
        config=TrainConfig(
            steps=40,
            batch_size=16,
            learning_rate=1e-2,
            weight_decay=1e-4,
            warmup_epochs=0.5,
            evaluate_every=10,
            checkpoint_every=10,
            log_every=2,
        ),
        build_model=build_model,
        build_data=build_data,
        step=phrase_step(LossWeights(bce=1.0, dice=1.0)),
        validate=validate_phrases,
        examine=examine_phrases,
        cache_features=cache_phrase_features,
    )

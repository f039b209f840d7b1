"""A tiny model with an exemplar head, and gray images of colored squares to make episodes of."""

import io
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from promptseg.data.sample import Sample, Target
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.registry import find_row
from promptseg.ops.rle import encode_rle
from promptseg.train.pixel_text.episodes import ExemplarEpisodes, collect_episodes
from promptseg.train.pixel_text.vocabulary import collect_vocabulary

COLORS = {"apple": (220, 30, 30), "grass": (30, 200, 40), "sea": (20, 40, 220)}


def draw_image(number: int, *names: str) -> Sample:
    """A gray image with one square for each name."""
    rng = np.random.default_rng(number)
    image = rng.integers(100, 140, (64, 64, 3), dtype=np.uint8)
    targets = []
    for place, name in enumerate(names):
        mask = np.zeros((64, 64), dtype=bool)
        top, left = 32 * place + int(rng.integers(0, 8)), int(rng.integers(0, 36))
        mask[top : top + 24, left : left + 26] = True
        image[mask] = COLORS[name]
        targets.append(Target(name, masks=(encode_rle(mask),)))
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return Sample(str(number), stream.getvalue(), (64, 64), tuple(targets), exhaustive=frozenset({"apple"}))


def build_model() -> PromptSegNetwork:
    config = find_row("promptseg-test-dense").config
    assert isinstance(config, PromptSegConfig)
    torch.manual_seed(0)
    return PromptSegNetwork(replace(config, exemplar_dim=32)).eval()


def draw_samples() -> list[Sample]:
    names = [("apple", "grass"), ("sea",), ("apple",), ("sea", "grass"), ("apple", "sea"), ("grass",)]
    return [draw_image(number, *listed) for number, listed in enumerate(names)]


def collect(model: PromptSegNetwork, samples: list[Sample]) -> ExemplarEpisodes:
    return collect_episodes(model, samples, collect_vocabulary(samples), stuff=("grass",), max_names=2, seed=0)

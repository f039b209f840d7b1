"""Teaching a dense model to take examples: episodes from annotated images, and a head that learns from them."""

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from promptseg.data.sample import Sample, Target
from promptseg.errors import DataError
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.registry import find_record
from promptseg.ops.rle import encode_rle
from promptseg.train.pixel_text.exemplars import WEAK_ABSENCE, collect_episodes, fit_exemplars
from promptseg.train.pixel_text.vocabulary import collect_vocabulary

COLORS = {"apple": (220, 30, 30), "grass": (30, 200, 40), "sea": (20, 40, 220)}


def image(number: int, *names: str) -> Sample:
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


@pytest.fixture(scope="module")
def model() -> PromptSeg:
    config = find_record("promptseg-test-dense").config
    assert isinstance(config, PromptSegConfig) and config.dense is not None
    torch.manual_seed(0)
    return PromptSeg(replace(config, dense=replace(config.dense, exemplar_dim=32))).eval()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    names = [("apple", "grass"), ("sea",), ("apple",), ("sea", "grass"), ("apple", "sea"), ("grass",)]
    return [image(number, *listed) for number, listed in enumerate(names)]


def collect(model: PromptSeg, samples: list[Sample]):
    return collect_episodes(model, samples, collect_vocabulary(samples), stuff=("grass",), max_names=2, seed=0)


def test_episodes_hold_every_name_and_what_is_missing(model: PromptSeg, samples: list[Sample]) -> None:
    episodes = collect(model, samples)
    assert {name: len(examples) for name, examples in episodes.examples.items()} == {"apple": 3, "grass": 3, "sea": 3}
    assert [set(scene.truths) for scene in episodes.scenes] == [{t.phrase for t in s.targets} for s in samples]
    # people said of every image whether there is an apple; nobody believes that there is no grass
    assert episodes.missing[1] == {"apple": 1.0}
    assert episodes.missing[2] == {"sea": WEAK_ABSENCE}
    assert "grass" not in episodes.missing[4]


def test_a_name_has_to_be_seen_twice(model: PromptSeg, samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="no name is seen twice"):
        collect(model, samples[:2])


def test_the_head_learns_and_nothing_else_changes(model: PromptSeg, samples: list[Sample]) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = fit_exemplars(model, collect(model, samples), steps=60, seed=0)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("exemplar.") for name in changed)

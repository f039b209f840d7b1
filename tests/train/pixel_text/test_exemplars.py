"""Training of the exemplar head: what it learns, what stays, and how a run is resumed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from episode_world import build_model, collect, draw_samples

from promptseg.data.sample import Sample
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.train.pixel_text.exemplars import EpisodeSource, fit_exemplars


@pytest.fixture(scope="module")
def model() -> PromptSegNetwork:
    return build_model()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return draw_samples()


def test_the_head_learns_and_nothing_else_changes(model: PromptSegNetwork, samples: list[Sample]) -> None:
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = fit_exemplars(model, collect(model, samples), steps=60, seed=0)
    assert np.mean(losses[-10:]) < 0.8 * np.mean(losses[:10])
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("exemplar.") for name in changed)


def test_an_example_is_never_of_the_query_and_absent_names_have_an_empty_mask(
    model: PromptSegNetwork, samples: list[Sample]
) -> None:
    episodes = collect(model, samples)
    source = EpisodeSource(episodes, num_items=8)
    own = {id(query.cells): query.sample.sample_id for query in episodes.queries}
    regions = {id(region.cells): region.sample_id for of_name in episodes.support.values() for region in of_name}
    num_absent = 0
    for seed in range(40):
        pair = source.item(0, np.random.default_rng(seed))
        assert regions[id(pair.present.support)] != own[id(pair.present.query)] == pair.sample_id
        assert pair.present.truth.sum() > 0 and pair.present.weight == 1.0
        if pair.absent is not None:
            num_absent += 1
            assert pair.absent.truth.sum() == 0 and 0 < pair.absent.weight <= 1
    assert num_absent > 10


def test_an_interrupted_fit_goes_on(model: PromptSegNetwork, samples: list[Sample], tmp_path: Path) -> None:
    episodes, start = collect(model, samples), {name: value.clone() for name, value in model.state_dict().items()}
    whole = fit_exemplars(model, episodes, steps=6, seed=1, run_dir=tmp_path / "run")
    after = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(start)
    again = fit_exemplars(model, episodes, steps=6, seed=1, run_dir=tmp_path / "run", resume=True)
    assert again == whole, "the losses of steps before the resume are read from the log"
    assert all(torch.equal(value, after[name]) for name, value in model.state_dict().items())

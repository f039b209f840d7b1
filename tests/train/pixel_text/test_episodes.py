"""Episodes from annotated images: support regions, and the names that are absent from each image."""

import pytest
from episode_world import build_model, collect, draw_samples

from promptseg.data.sample import Sample
from promptseg.errors import DataError
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.train.pixel_text.episodes import WEAK_ABSENCE


@pytest.fixture(scope="module")
def model() -> PromptSegNetwork:
    return build_model()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return draw_samples()


def test_episodes_hold_every_name_and_what_is_absent(model: PromptSegNetwork, samples: list[Sample]) -> None:
    episodes = collect(model, samples)
    assert {name: len(examples) for name, examples in episodes.support.items()} == {"apple": 3, "grass": 3, "sea": 3}
    assert [set(query.truths) for query in episodes.queries] == [{t.phrase for t in s.targets} for s in samples]
    # "apple" is annotated completely; the absence of grass, which is stuff, is never known
    assert episodes.absent[1] == {"apple": 1.0}
    assert episodes.absent[2] == {"sea": WEAK_ABSENCE}
    assert "grass" not in episodes.absent[4]


def test_a_name_must_be_in_two_images(model: PromptSegNetwork, samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="no name is in two images"):
        collect(model, samples[:2])

"""Names that a model was not trained on: their nearest trained hypernym, and how the model uses it."""

import gzip
import runpy
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from promptseg.language.hypernyms import load_nouns, nearest_hypernym
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.registry import find_row, segment_with
from promptseg.prompts import ExemplarPrompt, Query, TextPrompt
from promptseg.runtime import Runtime

TRAINED = frozenset(
    {"fruit", "food", "dog", "cat", "person", "bird", "flower", "car", "guitar", "snake", "wall", "couch"}
)
SCRIPT = Path(__file__).parents[2] / "lab" / "make_nouns.py"


@pytest.mark.parametrize(
    ("name", "hypernym"),
    [
        ("apple", "fruit"),
        ("Apples.", "fruit"),
        ("hazelnut", "fruit"),  # eaten, not seen as a tree
        ("a ripe apple on the wall", "fruit"),
        ("granny smith", "fruit"),
        ("abyssinian cat", "cat"),
        ("labrador retriever", "dog"),
        ("scooter rider", "person"),
        ("paraglider", "person"),  # not in WordNet, but in the table written by hand
        ("ukulele", "guitar"),
        ("python", "snake"),
    ],
)
def test_nearest_hypernym(name: str, hypernym: str) -> None:
    assert nearest_hypernym(name, TRAINED) == hypernym


@pytest.mark.parametrize(
    "name",
    [
        "fruit",
        "dogs",
        "the red car",  # an attribute of what is known
        "bengal cat",
        "sofa",  # a couch
        "crossing",  # first of all a journey
        "background",
        "stethoscope",
        "qwertz",
        "",
        "left",
    ],
)
def test_no_hypernym_where_the_name_is_trained_abstract_or_of_no_trained_kind(name: str) -> None:
    assert nearest_hypernym(name, TRAINED) is None


def test_a_hypernym_is_one_of_the_trained_names_for_every_word() -> None:
    words = sorted(load_nouns().meaning_of)[::97]
    found = {word: nearest_hypernym(word, TRAINED) for word in words}
    assert {kind for kind in found.values() if kind} <= TRAINED
    assert sum(kind is not None for kind in found.values()) > 100
    assert all(nearest_hypernym(word, {word}) is None for word in words)
    assert all(nearest_hypernym(word, frozenset()) is None for word in words)


@pytest.mark.parametrize(
    ("name", "head", "hypernym"),
    [
        ("phone booth", "booth", "table"),
        ("solar panel", "panel", "sheet"),
        ("satellite dish", "dish", "container"),
        ("drum kit", "kit", "container"),
    ],
)
def test_the_head_of_a_compound_does_not_count_where_it_mostly_means_something_else(
    name: str, head: str, hypernym: str
) -> None:
    assert (nearest_hypernym(name, {hypernym}), nearest_hypernym(head, {hypernym})) == (None, hypernym)


def test_the_head_of_a_compound_counts_where_most_of_its_meanings_share_the_hypernym() -> None:
    assert nearest_hypernym("the second worker from the right", {"person"}) == "person"  # among others, an ant
    assert nearest_hypernym("red apple", {"fruit"}) == "fruit"  # as well a tree
    assert nearest_hypernym("garden house", {"building"}) == "building"


def test_the_nearest_of_several_hypernyms_is_found() -> None:
    assert nearest_hypernym("labrador retriever", {"dog", "animal"}) == "dog"
    assert nearest_hypernym("labrador retriever", {"animal"}) == "animal"
    assert nearest_hypernym("labrador retriever", {"retriever", "dog"}) == "retriever"


def test_the_table_is_made_from_wordnets_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data.noun").write_text(
        "  1 a licence\n"
        "00000010 13 n 02 Granny_Smith 0 granny 0 001 @ 00000020 n 0000 | a green apple\n"
        "00000020 13 n 01 apple 0 001 @ 00000099 n 0000 | fruit\n"
        "00000030 20 n 01 apple 1 000 | tree\n"
        "00000040 18 n 01 granny 1 000 | a grandmother\n"
        "00000050 04 n 01 crossing 0 000 | a journey\n"
        "00000060 17 n 01 crossing 1 000 | a shallow place\n"
        "00000070 18 n 01 Newton 0 001 @i 00000040 n 0000 | one single person\n"
    )
    (tmp_path / "index.noun").write_text(
        "  1 a licence\n"
        "granny_smith n 1 1 @ 1 0 00000010  \n"
        "apple n 2 1 @ 2 0 00000030 00000020  \n"
        "granny n 2 1 @ 2 0 00000040 00000010  \n"
        "crossing n 2 1 @ 2 0 00000050 00000060  \n"
    )
    (tmp_path / "index.sense").write_text("granny%1:18:00:: 00000040 1 0\ngranny%1:13:00:: 00000010 2 0\n")
    monkeypatch.setattr(sys, "argv", ["make_nouns.py", str(tmp_path), str(tmp_path / "nouns.txt.gz")])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    assert gzip.decompress((tmp_path / "nouns.txt.gz").read_bytes()).decode().splitlines() == [
        "*granny smith,granny\t1",  # "granny" may as well be a person
        "*apple\t",  # food rather than a tree
        "apple\t",
        "granny\t",
        "crossing\t",
    ]


# In a model


@pytest.fixture(scope="module")
def network() -> PromptSegNetwork:
    config = find_row("promptseg-test-dense").config
    assert isinstance(config, PromptSegConfig)
    torch.manual_seed(0)
    return PromptSegNetwork(replace(config, trained_names=("dog", "fruit"))).eval()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def without_list(network: PromptSegNetwork) -> PromptSegNetwork:
    """The same weights without a list of trained names: no name is mixed with its hypernym."""
    plain = PromptSegNetwork(replace(network.config, trained_names=())).eval()
    plain.load_state_dict(network.state_dict())
    return plain


def logits_of(network: PromptSegNetwork, image: np.ndarray, queries: Sequence[Query], runtime: Runtime) -> np.ndarray:
    segmenter = segment_with(network, runtime)
    return segmenter.segment(segmenter.encode_image(image), queries).mask_logits


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_an_untrained_name_is_segmented_more_like_its_hypernym(
    network: PromptSegNetwork, without_list: PromptSegNetwork, image: np.ndarray, engine: str
) -> None:
    names = ("apple", "dog", "fruit", "thing")  # "dog" and "fruit" are trained; "thing" has no trained hypernym
    asked = [Query(name, (TextPrompt(name),)) for name in names]
    mixed, alone = (logits_of(one, image, asked, Runtime(engine)) for one in (network, without_list))
    np.testing.assert_allclose(mixed[1:], alone[1:], atol=1e-4, rtol=1e-4)
    distance = np.linalg.norm(mixed[0] - alone[2]) / np.linalg.norm(alone[0] - alone[2])
    assert 0.1 < distance < 0.75


def test_queries_together_are_what_they_are_one_by_one(network: PromptSegNetwork, image: np.ndarray) -> None:
    segmenter = segment_with(network)
    encoded = segmenter.encode_image(image)
    asked = [Query(name, (TextPrompt(name),)) for name in ("apple", "dog", "fruit", "thing")]
    together = segmenter.segment(encoded, asked)
    for row, query in enumerate(asked):
        one = segmenter.segment(encoded, [query])
        np.testing.assert_allclose(together.mask_logits[row], one.mask_logits[0], atol=1e-4, rtol=1e-4)


def test_an_untrained_name_in_a_mixture_is_mixed_with_its_hypernym_too(
    network: PromptSegNetwork, without_list: PromptSegNetwork, image: np.ndarray
) -> None:
    example = ExemplarPrompt(image, np.ones((60, 90), dtype=bool))
    query = Query("both", (TextPrompt("apple"), example))
    mixed, alone = (logits_of(one, image, [query], Runtime("torch")) for one in (network, without_list))
    assert not np.allclose(mixed, alone)


def test_a_checkpoint_keeps_the_trained_names(network: PromptSegNetwork, tmp_path: Path) -> None:
    save_pretrained(network, tmp_path / "saved")
    loaded = load_pretrained(tmp_path / "saved")
    assert isinstance(loaded, PromptSegNetwork) and loaded.config == network.config


@pytest.mark.parametrize("spelling", ["Grass.", '"grass"', " GRASS !", "grass\n", "“grass”"])
def test_punctuation_and_capitals_around_a_phrase_mean_nothing(
    network: PromptSegNetwork, image: np.ndarray, spelling: str
) -> None:
    segmenter = segment_with(network)
    encoded = segmenter.encode_image(image)
    plain, spelled = (segmenter.segment(encoded, [Query(text, (TextPrompt(text),))]) for text in ("grass", spelling))
    np.testing.assert_allclose(spelled.mask_logits, plain.mask_logits)
    np.testing.assert_allclose(spelled.presence, plain.presence)

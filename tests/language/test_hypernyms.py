"""Names that were never trained on: what they are kinds of, and what a model makes of that."""

import doctest
import gzip
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from promptseg.language import hypernyms as kinds
from promptseg.language.hypernyms import kind_of
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.promptseg.text_segmenter import KIND_SHARE
from promptseg.models.registry import find_record
from promptseg.prompts import ExemplarPrompt, Query, TextPrompt
from promptseg.runtime import build_segmenter

KNOWN = frozenset(
    {"fruit", "food", "dog", "cat", "person", "bird", "flower", "car", "guitar", "snake", "wall", "couch"}
)
SCRIPT = Path(__file__).parents[2] / "scripts" / "make_nouns.py"


def test_the_examples_in_the_docstrings_hold() -> None:
    results = doctest.testmod(kinds)
    assert results.attempted and not results.failed


@pytest.mark.parametrize(
    ("name", "kind"),
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
def test_a_name_finds_its_nearest_known_kind(name: str, kind: str) -> None:
    assert kind_of(name, KNOWN) == kind


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
def test_what_is_known_abstract_or_of_no_known_kind_stands_for_itself(name: str) -> None:
    assert kind_of(name, KNOWN) is None


def test_a_kind_is_one_of_the_known_names_whatever_is_asked() -> None:
    words = sorted(kinds._read_nouns().meaning_of)[::97]
    found = {word: kind_of(word, KNOWN) for word in words}
    assert {kind for kind in found.values() if kind} <= KNOWN
    assert sum(kind is not None for kind in found.values()) > 100
    assert all(kind_of(word, {word}) is None for word in words)
    assert all(kind_of(word, frozenset()) is None for word in words)


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("phone booth", "booth", "table"),
        ("solar panel", "panel", "sheet"),
        ("satellite dish", "dish", "container"),
        ("drum kit", "kit", "container"),
    ],
)
def test_a_head_of_other_meanings_says_nothing_of_a_compound(name: str, head: str, kind: str) -> None:
    assert (kind_of(name, {kind}), kind_of(head, {kind})) == (None, kind)


def test_a_head_that_mostly_means_one_sort_of_thing_says_what_a_compound_is() -> None:
    assert kind_of("the second worker from the right", {"person"}) == "person"  # among others, an ant
    assert kind_of("red apple", {"fruit"}) == "fruit"  # as well a tree
    assert kind_of("garden house", {"building"}) == "building"


def test_the_nearest_kind_wins() -> None:
    assert kind_of("labrador retriever", {"dog", "animal"}) == "dog"
    assert kind_of("labrador retriever", {"animal"}) == "animal"
    assert kind_of("labrador retriever", {"retriever", "dog"}) == "retriever"


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
def network() -> PromptSeg:
    config = find_record("promptseg-test-dense").config
    assert isinstance(config, PromptSegConfig) and config.dense is not None
    torch.manual_seed(0)
    dense = replace(config.dense, exemplar_dim=8, known_names=("dog", "fruit"))
    return PromptSeg(replace(config, dense=dense)).eval()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_an_unknown_name_lies_between_itself_and_its_kind(network: PromptSeg, image: np.ndarray, engine: str) -> None:
    segmenter = build_segmenter(network, engine)
    names = ("apple", "dog", "fruit", "thing")
    embedded = segmenter._read(names).dense  # type: ignore[attr-defined]
    alone = segmenter.encode_texts(names).dense  # type: ignore[attr-defined]
    middle = F.normalize((1 - KIND_SHARE) * alone[0] + KIND_SHARE * alone[2], dim=0)
    torch.testing.assert_close(embedded[0], middle, atol=1e-5, rtol=0)
    torch.testing.assert_close(embedded[1:], alone[1:], atol=1e-5, rtol=0)
    features = segmenter.encode_image(image)
    asked = [Query(name, [TextPrompt(name)]) for name in names]
    together = segmenter.segment(features, asked, (60, 90))
    for row, query in enumerate(asked):  # a batch is what its queries are one by one
        one = segmenter.segment(features, [query], (60, 90))
        torch.testing.assert_close(together.mask_logits[row], one.mask_logits[0], atol=1e-4, rtol=1e-4)


def test_an_unknown_name_in_a_mixture_leans_too(network: PromptSeg, image: np.ndarray) -> None:
    features = network.encode_image(image)
    example = ExemplarPrompt(image, np.ones((60, 90), dtype=bool))
    mixed = network.segment(features, [Query("both", [TextPrompt("apple"), example])], (60, 90))
    config = network.config
    assert config.dense is not None
    plain = PromptSeg(replace(config, dense=replace(config.dense, known_names=()))).eval()
    plain.load_state_dict(network.state_dict())
    unmixed = plain.segment(plain.encode_image(image), [Query("both", [TextPrompt("apple"), example])], (60, 90))
    assert not torch.allclose(mixed.mask_logits, unmixed.mask_logits)


def test_a_checkpoint_keeps_the_known_names(network: PromptSeg, tmp_path: Path) -> None:
    save_pretrained(network, tmp_path / "saved")
    loaded = load_pretrained(tmp_path / "saved")
    assert isinstance(loaded, PromptSeg) and loaded.config == network.config


@pytest.mark.parametrize("spelling", ["Grass.", '"grass"', " GRASS !", "grass\n", "“grass”"])
def test_punctuation_and_capitals_around_a_phrase_mean_nothing(
    network: PromptSeg, image: np.ndarray, spelling: str
) -> None:
    features = network.encode_image(image)
    plain, spelled = (
        network.segment_texts(features, ["grass"], (60, 90)),
        network.segment_texts(features, [spelling], (60, 90)),
    )
    torch.testing.assert_close(spelled.mask_logits, plain.mask_logits)
    torch.testing.assert_close(spelled.presence, plain.presence)

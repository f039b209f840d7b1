"""What is known of the towers without building them is what the towers have; tokens are those of transformers."""

import numpy as np
import pytest
import torch
from transformers import BertTokenizer

from promptseg import weights
from promptseg.encoders.tokenizers import BYTES_PADDING, BytesTokenizer, MissingTokenizer, load_tokenizer
from promptseg.encoders.tower_facts import (
    IMAGE_TOWER_FACTS,
    TEXT_TOWER_FACTS,
    image_tower_facts,
    text_tower_facts,
    tower_weights,
)
from promptseg.encoders.towers import IMAGE_TOWERS, TEXT_TOWERS, build_image_tower, build_text_tower
from promptseg.errors import UnknownModelError, WeightsError

ODD_TEXTS = [
    "a cat",
    "The CAT's left ear!",
    "naïve café — façade",
    "猫と犬",
    "🐈 on the roof",
    "",
    "   tabs\tand\nnewlines  ",
    "red-and-white check (40 cm), no. 7",
    "[MASK] [PAD] ##s",
    "unbelievablylongcompoundword" * 8,
    "one more " * 100,
    "İstanbul ǆ ﬁ",
]


def test_every_tower_has_facts() -> None:
    assert IMAGE_TOWERS.keys() == IMAGE_TOWER_FACTS.keys()
    assert TEXT_TOWERS.keys() == TEXT_TOWER_FACTS.keys()


@pytest.mark.parametrize("name", IMAGE_TOWERS)
def test_facts_of_image_towers_are_the_towers_own(name: str) -> None:
    layers: tuple[int | str, ...] = (0,)
    if name.startswith(("efficientnet", "conv", "clip-convnext")):
        layers = (8, 16, 32, "head") if "lite" in name else (8, 16, 32)
    with torch.device("meta"):
        tower = IMAGE_TOWERS[name](layers)
    facts = image_tower_facts(name)
    assert (tower.multiple, tower.detected_names) == (facts.multiple, facts.detected_names)
    assert (tower.mean, tower.std) == (facts.mean, facts.std)


@pytest.mark.parametrize("name", TEXT_TOWERS)
def test_facts_of_text_towers_are_the_towers_own(name: str) -> None:
    with torch.device("meta"):
        tower = TEXT_TOWERS[name]()
    assert tower.max_tokens == text_tower_facts(name).max_tokens


def test_test_towers_need_no_weights_and_one_has_no_public_ones() -> None:
    assert [name for name in IMAGE_TOWER_FACTS if name.endswith("-test")] == [
        name for name, facts in IMAGE_TOWER_FACTS.items() if facts.weights == ()
    ]
    assert tower_weights("efficientnet-lite2+yolox-nano") == ("efficientnet-lite2", "yolox-nano")
    for name, facts in IMAGE_TOWER_FACTS.items():
        if facts.weights is not None:
            assert all(weights.find_record(weight).files for weight in tower_weights(name))
    with pytest.raises(WeightsError, match="no public copy of the weights of vit-base-patch16-384"):
        tower_weights("vit-base-patch16-384")


@pytest.mark.parametrize(
    ("find", "build", "noun"),
    [
        (image_tower_facts, lambda name: build_image_tower(name, (3,)), "image tower"),
        (text_tower_facts, build_text_tower, "text tower"),
    ],
)
def test_an_unknown_tower_names_the_near_ones(find, build, noun: str) -> None:  # type: ignore[no-untyped-def]
    for ask in (find, build):
        with pytest.raises(
            UnknownModelError, match=f"no {noun} is named 'clip-vit-base'; similar names: .*clip-vit-base-"
        ):
            ask("clip-vit-base")


def test_bytes_are_tokens_of_the_test_tower() -> None:
    token_ids, token_mask = BytesTokenizer(4)(["ab", "", "abcdef"])
    assert token_ids.tolist() == [[97, 98, *[BYTES_PADDING] * 2], [BYTES_PADDING] * 4, [97, 98, 99, 100]]
    assert token_mask.sum(axis=1).tolist() == [2, 1, 4]
    assert load_tokenizer("bytes-test")(["cat"])[0].tolist() == [[99, 97, 116]]


def test_a_missing_vocabulary_says_so() -> None:
    with pytest.raises(WeightsError, match="minilm-l6 has no vocabulary yet"):
        MissingTokenizer("minilm-l6")(["cat"])


@pytest.mark.weights
def test_wordpiece_tokens_are_those_of_transformers() -> None:
    theirs = BertTokenizer(str(weights.resolve("minilm-l6") / "vocab.txt"), do_lower_case=True)
    ours = load_tokenizer("minilm-l6")
    expected = theirs(ODD_TEXTS, padding=True, truncation=True, max_length=64, return_tensors="np")
    token_ids, token_mask = ours(ODD_TEXTS)
    np.testing.assert_array_equal(token_ids, expected["input_ids"])
    np.testing.assert_array_equal(token_mask, expected["attention_mask"].astype(bool))
    assert (token_ids.dtype, token_mask.dtype) == (np.int64, np.bool_)
    for text, row, mask in zip(ODD_TEXTS, token_ids, token_mask, strict=True):
        np.testing.assert_array_equal(ours([text])[0][0], row[mask])


@pytest.mark.weights
def test_clip_tokens_are_those_of_transformers() -> None:
    from transformers import CLIPTokenizer

    theirs = CLIPTokenizer.from_pretrained(weights.resolve("clip-tokenizer"), local_files_only=True)
    expected = theirs(ODD_TEXTS, padding=True, truncation=True, max_length=77, return_tensors="np")
    token_ids, token_mask = load_tokenizer("clip-vit-base-patch16")(ODD_TEXTS)
    np.testing.assert_array_equal(token_ids, expected["input_ids"])
    np.testing.assert_array_equal(token_mask, expected["attention_mask"].astype(bool))

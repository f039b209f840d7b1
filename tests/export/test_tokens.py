"""The tokenizers that exported scripts bring along, beside those of the package."""

import json
import re
import unicodedata
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from promptseg.encoders.tokenizers import load_tokenizer
from promptseg.encoders.tower_facts import text_tower_facts
from promptseg.export.phrase_parts import vocabulary_files

PHRASES = (
    "cat", "the cat's left ear", "crème brûlée", "t-shirt_2 ... !!", "ω unbelievableness 1234", "it'll be 5__a", "x",
    " ".join(["red"] * 100),
)  # fmt: skip


@pytest.mark.parametrize("tower", ["minilm-l6", pytest.param("clip-vit-base-patch16", marks=pytest.mark.weights)])
def test_scripts_split_phrases_as_the_package_does(tower: str, tmp_path: Path) -> None:
    facts, tokenizer = text_tower_facts(tower), load_tokenizer(tower)
    for filename, text in vocabulary_files(tower, tokenizer).items():
        (tmp_path / filename).write_text(text, encoding="utf-8")
    piece = resources.files("promptseg.export") / "run_script" / f"tokens_{facts.tokenizer}.txt"
    names: dict[str, Any] = {
        "HERE": tmp_path,
        "CONFIG": {"text": {"max_tokens": facts.max_tokens}},
        **{module.__name__: module for module in (json, re, unicodedata)},
        "np": np,
    }
    exec(compile(piece.read_text(encoding="utf-8"), piece.name, "exec"), names)
    for phrase in PHRASES:
        token_ids, token_mask = names["tokenize"](phrase)
        expected_ids, expected_mask = tokenizer([phrase])
        assert token_ids.tolist() == expected_ids.tolist(), phrase
        assert (token_ids.dtype, token_mask.tolist()) == (expected_ids.dtype, expected_mask.tolist())

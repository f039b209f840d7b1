"""Examples as the command line writes them become queries; what is malformed is named."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg.cli.exemplar_options import collect_queries, parse_exemplar
from promptseg.errors import ImageError, PromptError
from promptseg.prompts import ExemplarPrompt, TextPrompt

MASK = np.zeros((6, 8), dtype=bool)
MASK[1:4, 2:5] = True


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("mug.png", "vase.png", "odd@2=name.png"):
        Image.fromarray(np.zeros((6, 8, 3), dtype=np.uint8)).save(tmp_path / name)
    Image.fromarray(MASK).save(tmp_path / "mug-mask.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("written", "name", "label", "num_pixels", "weight"),
    [
        ("mug.png", None, "mug", 48, 1.0),
        ("mug.png:mug-mask.png", None, "mug", 9, 1.0),
        ("mug.png:2,1,5,4", None, "mug", 9, 1.0),
        ("mug.png@-0.5", None, "mug", 48, -0.5),
        ("red mug=mug.png:mug-mask.png@2", "red mug", "mug", 9, 2.0),
        ("odd@2=name.png", None, "odd@2=name", 48, 1.0),
    ],
)
def test_every_form(folder: Path, written: str, name: str | None, label: str, num_pixels: int, weight: float) -> None:
    said_name, said_label, exemplar = parse_exemplar(written)
    assert (said_name, said_label, exemplar.weight) == (name, label, weight)
    assert exemplar.foreground.sum() == num_pixels


def test_a_full_path_with_colons_of_its_own_kind(folder: Path) -> None:
    _, _, exemplar = parse_exemplar(f"{folder}/mug.png:{folder}/mug-mask.png")
    np.testing.assert_array_equal(exemplar.foreground, MASK)


def test_examples_of_one_name_mix_with_its_phrase(folder: Path) -> None:
    queries = collect_queries(
        ["a cup", "mug"], ["mug=mug.png:mug-mask.png@2", "vase.png", "mug=vase.png@-1", "tea=mug.png"]
    )
    assert [query.label for query in queries] == ["a cup", "mug", "tea", "vase"]
    assert queries[0].prompts == (TextPrompt("a cup"),)
    text, mug, not_vase = queries[1].prompts
    assert text == TextPrompt("mug")
    assert isinstance(mug, ExemplarPrompt) and isinstance(not_vase, ExemplarPrompt)
    assert (mug.weight, not_vase.weight) == (2.0, -1.0)
    assert collect_queries([], []) == []


@pytest.mark.parametrize(
    ("written", "error", "message"),
    [
        ("missing.png", ImageError, "missing.png: no such file"),
        ("mug.png:missing.png", ImageError, "missing.png: no such file"),
        ("x" * 300, ImageError, "File name too long"),
        ("mug.png:9,9,12,12", PromptError, "--exemplar mug.png:9,9,12,12: the exemplar's box .* lies outside"),
        ("mug.png:5,5,2,9", PromptError, "left < right"),
        ("mug.png@0", PromptError, "a weight of 0 says nothing"),
        ("mug.png@1.2.3", PromptError, "--exemplar mug.png@1.2.3: could not convert"),
        ("mug.png:vase.png", PromptError, "the exemplar's mask is empty"),
    ],
)
def test_refuses(folder: Path, written: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message if "outside" in message else re.escape(message)):
        parse_exemplar(written)


def test_refuses_a_name_with_negative_examples_only(folder: Path) -> None:
    with pytest.raises(PromptError, match="'vase' says only what is not meant"):
        collect_queries(["mug"], ["vase=vase.png@-1"])


def test_a_mask_of_classes_is_refused_until_one_is_chosen(folder: Path) -> None:
    classes = MASK.astype(np.uint8) * 2
    classes[4:] = 5
    Image.fromarray(classes).save(folder / "classes.png")
    with pytest.raises(ImageError, match=r"classes\.png: the mask has the values 0, 2, 5, .*--mask-value"):
        parse_exemplar("mug.png:classes.png")
    for value, expected in ((2, MASK), ("nonzero", classes > 0)):
        _, _, exemplar = parse_exemplar("mug.png:classes.png", mask_value=value)  # type: ignore[arg-type]
        np.testing.assert_array_equal(exemplar.foreground, expected)


def test_a_mask_value_that_is_none_is_noticed_before_a_model_is_loaded(
    folder: Path, promptseg: Callable[..., tuple[int, str, str]]
) -> None:
    code, _, err = promptseg("predict", "vase.png", "-x", "mug.png:mug-mask.png", "--mask-value", "red")
    assert code == 2 and "'red' is no mask value" in err


def test_predict_by_examples_alone_and_mixed(folder: Path, promptseg: Callable[..., tuple[int, str, str]]) -> None:
    arguments = ["predict", "vase.png", "-t", "mug", "-x", "mug=mug.png:2,1,5,4@0.5", "-x", "vase.png", "--json"]
    code, out, err = promptseg(*arguments, "--model", "clipseg-test", "--threshold", "0")
    assert code == 0, err
    assert [result["label"] for result in json.loads(out)["results"]] == ["mug", "vase"]


def test_predict_names_the_models_that_take_exemplars_and_a_missing_prompt(
    folder: Path, promptseg: Callable[..., tuple[int, str, str]]
) -> None:
    for arguments, said in [
        (
            ["-x", "mug.png", "--model", "promptseg-s1-test"],
            "promptseg-s1-test takes text prompts, no exemplar prompts",
        ),
        ([], "no prompt was given"),
        (["-x", "vase=vase.png@-1"], "says only what is not meant"),
    ]:
        code, _, err = promptseg("predict", "vase.png", *arguments)
        assert code == 2 and said in err

"""Points and boxes as the command line writes them, and what is said of those that mean nothing."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg import BoxPrompt, PointPrompt
from promptseg.cli.geometric_options import add_pointing, parse_box, parse_points
from promptseg.errors import PromptError
from promptseg.prompts import UNNAMED_OBJECT, to_queries

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def promptseg(promptseg: Run) -> Run:
    return lambda *arguments: promptseg(*arguments, "--engine", "torch")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    return path


def test_points_and_boxes_are_read() -> None:
    assert parse_points(["3,4", "5.5,6,0", "7,8,1"]) == PointPrompt(((3, 4), (5.5, 6), (7, 8)), (True, False, True))
    assert parse_box("1,2,30,40.5") == BoxPrompt((1, 2, 30, 40.5))


@pytest.mark.parametrize(
    ("points", "boxes", "message"),
    [
        (["3"], [], "--point 3: write x,y or x,y,label"),
        (["3;4"], [], "--point 3;4: write"),
        (["3,4,2"], [], "--point 3,4,2: the label is 1"),
        (["nan,4"], [], "not finite"),
        ([], ["1,2,3"], "--box 1,2,3: write x0,y0,x1,y1"),
        ([], ["10,2,3,4"], "left < right"),
    ],
)
def test_what_is_written_otherwise_is_refused(points: list[str], boxes: list[str], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        add_pointing((), points, boxes)


def test_they_belong_to_the_one_thing_that_is_asked_for() -> None:
    (query,) = add_pointing((), ["3,4"], ["1,2,30,40"])
    assert (query.label, [prompt.kind for prompt in query.prompts]) == (UNNAMED_OBJECT, ["point", "box"])
    (query,) = add_pointing(to_queries("cat"), ["3,4"], [])
    assert (query.label, [prompt.kind for prompt in query.prompts]) == ("cat", ["text", "point"])
    assert len(add_pointing(to_queries(["cat", "dog"]), [], [])) == 2
    with pytest.raises(PromptError, match="belong to one query, but there are 2: cat, dog"):
        add_pointing(to_queries(["cat", "dog"]), ["3,4"], [])


def test_predict_masks_what_is_pointed_at(promptseg: Run, photo: Path) -> None:
    code, out, err = promptseg(
        "predict", photo, "--point", "30,20", "--box", "5,5,50,35", "--masker", "sam-test", "--json"
    )
    assert code == 0, err
    (result,) = json.loads(out)["results"]
    assert (result["label"], result["presence"], len(result["instances"])) == (UNNAMED_OBJECT, 1.0, 1)


def test_a_image_that_a_point_does_not_lie_in_has_failed(promptseg: Run, photo: Path) -> None:
    code, out, err = promptseg("predict", photo, "--point", "61,3", "--masker", "sam-test")
    assert (code, out) == (1, "")
    assert f"error: {photo}: the point (61, 3) of 'object' is outside the image, 60x40" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--point", "3,3,0", "--masker", "sam-test"), "only says where the object is not"),
        (("--text", "cat", "--masker", "sam-test"), "no text prompts (query 'cat'); models that do: promptseg"),
        (("--point", "3,3", "--model", "promptseg-s1"), "promptseg-s1"),
        (("--point", "3,3", "--model", "promptseg-test"), "models that do: promptseg, mobile-sam, sam2-hiera-tiny"),
        (("--point", "3,3", "--model", "promptseg", "--masker", "sam-test"), "not both"),
        ((), "no prompt was given"),
    ],
)
def test_what_means_nothing_is_named(promptseg: Run, photo: Path, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = promptseg("predict", photo, *arguments)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())

"""The shipped default model as people meet it: any engine, without torch, and as a detector of "langsam"."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from golden_requests import PHOTOS

import promptseg
from promptseg.ops.masks import mask_iou

FLOW = """
import sys
import promptseg
model = promptseg.load(offline=True, device="cpu")
result = model.segment(sys.argv[1], "cup")[0]
assert result.is_present and result.mask_logits.max() > 0
print(*sys.modules)
assert result.mask.any() and result.instances
"""


def test_a_compiled_default_model_answers_without_torch() -> None:
    image = PHOTOS / "coffee.jpg"
    # a first load compiles what is not in the cache yet
    promptseg.load(device="cpu").segment(image, "cup")
    done = subprocess.run([sys.executable, "-c", FLOW, image], check=True, capture_output=True, text=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert {"openvino", "numpy", "tokenizers"} <= loaded
    assert not loaded & {"torch", "torchvision", "transformers", "scipy", "matplotlib", "supervision"}


@pytest.fixture(scope="module")
def pair() -> tuple[promptseg.Predictor, promptseg.Predictor]:
    model, langsam = (promptseg.load(name, device="cpu", engine="torch") for name in ("promptseg", "langsam"))
    return model, langsam


@pytest.mark.parametrize("photo", ["astronaut", "coffee"])
def test_langsam_finds_the_instances_that_the_default_finds(photo: str, pair: tuple[Any, Any]) -> None:
    model, langsam = pair
    for phrase in ("person", "cup"):
        one, other = (each.segment(PHOTOS / f"{photo}.jpg", phrase)[0] for each in (model, langsam))
        if not one.is_present:
            continue
        assert len(one.instances) == len(other.instances)
        for first, second in zip(one.instances, other.instances, strict=True):
            assert first.score == pytest.approx(second.score, abs=0.01)
            # SAM draws at another size, so the edges differ
            assert mask_iou(first.mask, second.mask) > 0.8


def test_every_public_name_of_version_0_1_still_resolves() -> None:
    names = Path(__file__).with_name("public_names.txt").read_text(encoding="utf-8").split()
    assert len(names) > 40
    for name in names:
        if name in promptseg.__all__ or name in dir(promptseg):
            assert getattr(promptseg, name) is not None
        else:
            with pytest.warns(DeprecationWarning, match=f"promptseg.{name} is deprecated; use promptseg"):
                assert getattr(promptseg, name) is not None


@pytest.mark.parametrize("phrase", ["the one on the left", "the man next to the one with a hat", "the ones not in red"])
def test_a_referring_phrase_may_leave_its_object_without_a_name(phrase: str, pair: tuple[Any, Any]) -> None:
    (result,) = pair[0].segment(PHOTOS / "astronaut.jpg", phrase)
    assert 0 <= result.presence <= 1 and result.mask.any() == result.is_present

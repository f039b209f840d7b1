"""The recipe of the container: what it copies and starts exists, and its cache holds all that requests need."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from promptseg.cli.app import app
from promptseg.image_files import bundled_image

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "deploy/Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} +(.*)$", RECIPE, re.MULTILINE)


def test_it_copies_what_is_there_and_not_ignored() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    copied = [name for line in instructions("COPY") if "--from" not in line for name in line.split()[:-1]]
    assert "pyproject.toml" in copied and "src" in copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name.split("/")[0] in kept, f"{name} is ignored by .dockerignore"


def test_it_starts_the_server_as_nobody_with_options_that_exist() -> None:
    command = json.loads(instructions("ENTRYPOINT")[0]) + json.loads(instructions("CMD")[0])
    assert command[:2] == ["promptseg", "serve"]
    serve = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]  # a group has commands
    options = {option for parameter in serve.params for option in parameter.opts}
    assert {word for word in command if word.startswith("--")} <= options
    assert instructions("USER") == ["10001:10001"]
    assert "/healthz" in instructions("HEALTHCHECK")[0] + RECIPE.partition("HEALTHCHECK")[2]
    assert "PROMPTSEG_OFFLINE=1" in RECIPE


@pytest.mark.parametrize("model", ["promptseg-test", "sam-test"])
def test_a_filled_cache_needs_no_compiling(model: str, tmp_path: Path) -> None:
    environment = os.environ | {"PROMPTSEG_CACHE": str(tmp_path), "PROMPTSEG_OFFLINE": "1"}
    filling = subprocess.run(
        [sys.executable, ROOT / "deploy/fill_cache.py", model], env=environment, capture_output=True, text=True
    )
    assert filling.returncode == 0 and "compiling" in filling.stderr, filling.stderr
    prompt = (
        ("--point", "100,100") if model == "sam-test" else ("--text", "the left mug", "-x", bundled_image("rocket"))
    )
    # other images than those that it was filled by
    request = ("predict", bundled_image("coffee"), *prompt, "--model", model)
    asking = subprocess.run(
        [sys.executable, "-m", "promptseg", *request], env=environment, capture_output=True, text=True
    )
    assert (asking.returncode, asking.stderr) == (0, "")

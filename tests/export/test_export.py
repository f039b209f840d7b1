"""Exported models: graphs that compute what PyTorch does, a config that is true, a folder that is whole or absent."""

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from command_line import Ended
from exported_world import run_exported
from filelock import FileLock
from numpy.typing import NDArray

import promptseg
from promptseg.errors import CheckpointError, MissingExtraError, OutputError, PromptError, UnknownModelError
from promptseg.export import export_model
from promptseg.export.model_parts import describe_model
from promptseg.export.parts import ExportPart
from promptseg.image_files import bundled_image
from promptseg.images import read_image
from promptseg.models.registry import LoadOptions, load_model
from promptseg.runtime import Runtime, Step
from promptseg.sam.load import load_sam

CHELSEA = read_image(bundled_image("chelsea"))
TALL = np.ascontiguousarray(CHELSEA[:, :200])

Tensors = dict[str, NDArray[Any]]
Compute = Callable[[Tensors], Tensors]

MODELS = ("promptseg-test", "clipseg-test", "sam-test")
FORMATS = ("onnx", "openvino")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Export a model of the table, once for all processes of pytest-xdist."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def export(model: str, format: str) -> Path:
        folder = root / f"exported-{model}-{format}"
        with FileLock(f"{folder}.lock"):
            if not folder.exists():
                export_model(folder, model, format=format, offline=True)  # type: ignore[arg-type]
        return folder

    return export


def open_file(path: Path) -> Compute:
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return lambda inputs: dict(zip(names, session.run(names, inputs), strict=True))
    graph = openvino.Core().read_model(path)
    names = [port.get_any_name() for port in graph.outputs]
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda inputs: dict(zip(names, compiled(inputs).values(), strict=True))


def parts_of(model: str) -> tuple[ExportPart, ...]:
    options = LoadOptions(Runtime("torch"), offline=True)
    return describe_model(load_model(model, options), options).parts


def random_inputs(part: ExportPart, step: Step, lengths: dict[str, int]) -> Tensors:
    """Make inputs whose free axes have other lengths than those of the example."""
    random = np.random.default_rng(0)
    inputs: Tensors = {}
    for name, tensor in step.example.items():
        shape = list(tensor.shape)
        for axis, free in part.axes.get(name, {}).items():
            shape[axis] = lengths[free.name] * free.multiple_of
        if tensor.dtype == torch.bool:
            inputs[name] = np.arange(shape[1]) < random.integers(1, shape[1], (shape[0], 1))
        elif name == "point_labels":
            inputs[name] = np.resize([1, 0, 2, 3, -1], shape).astype(np.int64)
        elif tensor.dtype == torch.int64:
            inputs[name] = random.integers(0, 200, shape)
        elif name == "coverage":
            inputs[name] = random.random(shape).astype(np.float32)
        elif name == "has_coarse":
            inputs[name] = np.full(shape, lengths["has_coarse"], dtype=np.float32)
        else:
            inputs[name] = random.normal(size=shape).astype(np.float32) * (20 if name == "points_xy" else 1)
    return inputs


LENGTHS = (
    {"rows": 12, "columns": 9, "phrases": 1, "tokens": 5, "points": 2, "has_coarse": 0},
    {"rows": 7, "columns": 20, "phrases": 4, "tokens": 11, "points": 5, "has_coarse": 1},
)


def length_of(axis: int | str, free_axes: list[str], lengths: dict[str, int]) -> int:
    """Read an axis as config.json writes it: 3, "tokens" or "32*rows"."""
    if isinstance(axis, int):
        return axis
    multiple, _, name = axis.rpartition("*")
    assert name in free_axes
    return int(multiple or 1) * lengths[name]


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("model", MODELS)
def test_graphs_compute_what_pytorch_computes_at_any_size(
    model: str, format: str, exported: Callable[[str, str], Path]
) -> None:
    folder = exported(model, format)
    config = json.loads((folder / "config.json").read_text())
    parts = parts_of(model)
    assert [part.name for part in parts] == list(config["graphs"])
    for part in parts:
        facts = config["graphs"][part.name]
        step, compute = part.build(), open_file(folder / facts["file"])
        for lengths in LENGTHS:
            inputs = random_inputs(part, step, lengths)
            with torch.no_grad():
                answers = step.module(*(torch.from_numpy(array) for array in inputs.values()))
            answers = answers if isinstance(answers, tuple) else (answers,)
            found = compute(inputs)
            assert list(found) == list(step.outputs) == list(facts["outputs"])
            for name, answer in zip(step.outputs, answers, strict=True):
                assert found[name].dtype == facts["outputs"][name]["dtype"]
                assert len(found[name].shape) == len(facts["outputs"][name]["shape"])
                difference = np.abs(found[name] - answer.numpy()).max()
                assert difference < config["tolerance"], (part.name, name, lengths)
            for name, array in inputs.items():
                assert array.dtype == facts["inputs"][name]["dtype"]
                said = [length_of(axis, facts["free_axes"], lengths) for axis in facts["inputs"][name]["shape"]]
                assert list(array.shape) == said


@pytest.mark.parametrize("format", FORMATS)
def test_config_states_the_model_and_the_hash_of_every_file(format: str, exported: Callable[[str, str], Path]) -> None:
    folder = exported("promptseg-test", format)
    config = json.loads((folder / "config.json").read_text())
    predictor = promptseg.load("promptseg-test", engine="torch")
    assert config["schema"] == "promptseg/export-1"
    assert (config["model"], config["license"], config["format"]) == ("promptseg-test", "Apache-2.0", format)
    assert config["fingerprint"] == predictor.fingerprint
    assert config["thresholds"]["presence"] == predictor.presence_threshold
    assert config["thresholds"]["mask"] == predictor.segmenter.mask_threshold
    written = {path.name for path in folder.iterdir()} - {"config.json"}
    assert config["files"].keys() == written > {"run.py", "README.md"}
    for name, digest in config["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert all(sentence in (folder / "README.md").read_text() for sentence in config["python_only"])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("model", "phrase"), [("promptseg-test", "the cat"), ("clipseg-test", "grass")])
def test_script_finds_phrases_without_pytorch(
    model: str, phrase: str, format: str, exported: Callable[[str, str], Path], tmp_path: Path
) -> None:
    result = promptseg.load(model, engine="torch").segment(TALL, phrase, threshold=0.0)[0]
    answered = run_exported(exported(model, format), TALL, phrase, tmp_path)
    assert answered.presence == pytest.approx(result.presence, abs=2e-3)
    assert (answered.masks["coarse"] != result.mask).mean() < 1e-3


def test_script_asks_a_sam_by_a_box_without_pytorch(exported: Callable[[str, str], Path], tmp_path: Path) -> None:
    sam = load_sam("sam-test", runtime=Runtime("torch"))
    output = sam.segment(sam.encode(TALL), boxes_xyxy=np.array([[40.0, 60.0, 180.0, 200.0]]))
    mask = output.image_logits()[0, 0] > 0
    answered = run_exported(exported("sam-test", "onnx"), TALL, "40,60,180,200", tmp_path)
    assert 0 < mask.mean() < 1
    assert (answered.masks["mask"] != mask).mean() < 1e-3


def test_an_earlier_export_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    first = export_model(folder, "promptseg-test", format="openvino")  # an empty folder is taken
    (folder / "run.py").write_text("changed")
    assert export_model(folder, "promptseg-test", format="openvino") == first
    assert (folder / "run.py").read_text() != "changed"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]

    folder.rename(tmp_path / ".model.old")  # as a run that was killed between its two renamings leaves it
    assert export_model(folder, "promptseg-test", format="openvino") == first
    assert [path.name for path in tmp_path.iterdir()] == ["model"]

    (folder / "notes.txt").write_text("mine")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(OutputError, match=r"model holds 'notes.txt', which no export wrote: name a new folder"):
        export_model(folder, "promptseg-test", format="openvino")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_folder_that_is_no_export_is_refused(tmp_path: Path) -> None:
    for text in ('{"schema": "other"}', "[]", "{", "5"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(OutputError, match=r"holds 'config.json', which no export wrote"):
            export_model(tmp_path, "promptseg-test", format="openvino")
    with pytest.raises(OutputError, match="is not a folder"):
        export_model(tmp_path / "config.json", "promptseg-test", format="openvino")


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_leaves_nothing_and_keeps_what_was_there(
    format: str, exported: Callable[[str, str], Path], tmp_path: Path
) -> None:
    shutil.copytree(exported("sam-test", "openvino"), tmp_path / "model")
    before = {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()}

    def fill_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    code = (
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); from promptseg.cli.main import main; "
        f"main(['export', 'model', '--model', 'sam-test', '--format', '{format}'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, preexec_fn=fill_disk, capture_output=True, text=True
    )
    assert done.returncode == 2, done.stderr
    assert "error: model: can't be written" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "model").iterdir()} == before


def test_models_without_graphs_are_refused_before_they_are_loaded(tmp_path: Path) -> None:
    for name in ("langsam", "uniovseg-test", "promptseg-s1-test"):
        with pytest.raises(CheckpointError, match=f"{name} can't be exported: .* mobile-sam and sam2-hiera-tiny"):
            export_model(tmp_path / "model", name, offline=True)
    with pytest.raises(UnknownModelError, match="no model is named 'promtpseg'"):
        export_model(tmp_path / "model", "promtpseg", offline=True)
    with pytest.raises(PromptError, match="no export format is named 'tflite'; use onnx or openvino"):
        export_model(tmp_path / "model", format="tflite")  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_onnx_without_its_extra_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'promptseg\[export\]'"):
        export_model(tmp_path / "model", "promptseg-test")


def test_the_command_names_graphs_and_files(promptseg: Callable[..., Ended], tmp_path: Path) -> None:
    ended = promptseg("export", tmp_path / "model", "--model", "sam-test", "--format", "openvino", "--offline")
    assert ended.code == 0
    assert ended.err.splitlines() == ["writing masker-encode", "writing masker-decode", "writing masker-levels"]
    assert ended.out.startswith(f"{tmp_path / 'model'}: config.json, ")
    refused = promptseg("export", tmp_path / "model", "--model", "langsam")
    assert refused.code == 2
    assert "langsam can't be exported" in refused.err

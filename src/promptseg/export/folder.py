"""Write an exported model: a folder that appears complete or not at all."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from promptseg._extras import require
from promptseg.errors import OutputError, PromptError
from promptseg.export.graph_facts import describe_inputs, describe_outputs
from promptseg.export.model_parts import describe_model, is_exportable, not_exportable
from promptseg.export.parts import ExportedModel, ExportFormat, ExportPart
from promptseg.export.readme import readme_text
from promptseg.models.registry import DEFAULT_MODEL, LoadedModel, LoadOptions, load_model
from promptseg.models.table import MODELS
from promptseg.ops.atomic import atomic_directory
from promptseg.runtime import Runtime
from promptseg.weights import RECORDS, ReportProgress

SCHEMA = "promptseg/export-1"
CONFIG_FILE = "config.json"
# Largest difference of an output from PyTorch's in float32, absolute, that tests allow.
TOLERANCE = 1e-3

_SUFFIXES: Mapping[ExportFormat, str] = {"onnx": ".onnx", "openvino": ".xml"}


def export_model(
    directory: str | Path,
    model: str | Path | None = None,
    *,
    format: ExportFormat = "onnx",
    offline: bool = False,
    progress: ReportProgress | None = None,
    report: Callable[[str], None] | None = None,
    **options: Any,
) -> tuple[Path, ...]:
    """Export a model to a folder of graphs, `config.json`, vocabulary, README.md and an example script `run.py`.

    Args:
        directory: Where to; an earlier export there is replaced, any other folder is refused unless it is empty.
        model: As `promptseg.load`; None: the default.
        format: "onnx", or "openvino": OpenVINO's .xml and .bin, which compute in about the same numbers.
        offline: Fetch nothing.
        progress: Told (name, bytes here, bytes in all) while weights are fetched.
        report: Told the name of each graph before it is written, which takes up to a minute.
        options: Of the model, as `promptseg.load`; refiner=None leaves the masker out.

    Returns:
        The files, config.json first.

    Raises:
        OutputError: The folder holds something else, or can't be written.
        CheckpointError: The model has no graphs that can be exported, or its checkpoint does not fit.
        MissingExtraError: The extra `export` is not installed.
        PromptError: There is no such format, or the model has no such option.
        UnknownModelError: There is neither a model nor a checkpoint of that name.
        WeightsError: Weights can't be fetched or read.
    """
    directory = Path(directory)
    if format not in get_args(ExportFormat):
        raise PromptError(f"no export format is named {format!r}; use {' or '.join(get_args(ExportFormat))}")
    if format == "onnx":
        require("onnxscript", extra="export")
    _check_replaceable(directory)
    name = DEFAULT_MODEL if model is None else model
    row = MODELS.get(str(name))
    if row is not None and not is_exportable(row.config):
        raise not_exportable(row.name, row.config)
    load_options = LoadOptions(Runtime("torch"), offline, progress)
    loaded = load_model(name, load_options, options)
    described = describe_model(loaded, load_options)
    with _new_or_replaced(directory) as unfinished:
        graphs = {}
        for part in described.parts:
            if report is not None:
                report(part.name)
            graphs[part.name] = _write_graph(part, unfinished, format)
        for filename, text in {**described.files, "run.py": _script(described, format)}.items():
            (unfinished / filename).write_text(text, encoding="utf-8", newline="\n")
        config = _config(loaded, None if row is None else row.license, described, format, graphs)
        (unfinished / "README.md").write_text(readme_text(config, described), encoding="utf-8", newline="\n")
        config["files"] = {path.name: _sha256(path) for path in sorted(unfinished.iterdir())}
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (unfinished / CONFIG_FILE).write_text(text, encoding="utf-8", newline="\n")
    return (directory / CONFIG_FILE, *(directory / filename for filename in config["files"]))


def _write_graph(part: ExportPart, folder: Path, format: ExportFormat) -> dict[str, Any]:
    """Write a graph and describe it as config.json does."""
    path = folder / f"{part.name}{_SUFFIXES[format]}"
    # imported here because both import torch
    if format == "onnx":
        from promptseg.export.onnx_file import write_onnx

        write_onnx(part, path)
    else:
        from promptseg.export.openvino_file import write_openvino

        write_openvino(part, path)
    return {
        "file": path.name,
        "computes": part.summary,
        "inputs": describe_inputs(part, path),
        "outputs": describe_outputs(path),
        "free_axes": sorted({axis.name for axes in part.axes.values() for axis in axes.values()}),
    }


def _config(
    loaded: LoadedModel, license: str | None, described: ExportedModel, format: ExportFormat, graphs: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "model": loaded.name,
        "fingerprint": loaded.identity,
        "license": license,
        "weights": {name: RECORDS[name].license for name in described.weights},
        "promptseg": version("promptseg"),
        "format": format,
        "tolerance": TOLERANCE,
        **described.facts,
        "graphs": graphs,
        "python_only": list(described.python_only),
    }


def _script(described: ExportedModel, format: ExportFormat) -> str:
    """Put the example script together from its pieces."""
    folder = resources.files("promptseg.export") / "run_script"
    header, *pieces = (
        (folder / f"{name}.txt").read_text(encoding="utf-8").strip("\n")
        for name in (f"engine_{format}", *described.script)
    )
    body = "\n\n\n".join(pieces)
    modules = ["json", *(name for name in ("re", "sys", "unicodedata") if f" {name}." in body or f"*{name}." in body)]
    header = header.replace("USAGE", described.usage).replace(
        "IMPORTS", "\n".join(f"import {name}" for name in modules)
    )
    return f"{header}\n\n\n{body}\n"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_replaceable(directory: Path) -> None:
    """Check that nothing but an earlier export is in the way.

    Raises:
        OutputError: Something else is there.
    """
    if not directory.exists() and not directory.is_symlink():
        return
    if not directory.is_dir() or directory.is_symlink():
        raise OutputError(f"{directory} is not a folder: name another one")
    found = {path.name for path in directory.iterdir()}
    if not found:
        return
    if strange := sorted(found - _exported_files(directory)):
        raise OutputError(
            f"{directory} holds {strange[0]!r}, which no export wrote: name a new folder, an empty one, or one that "
            "holds an earlier export alone"
        )


def _exported_files(directory: Path) -> set[str]:
    """Name the files that an earlier export wrote to a folder; none if it holds no export."""
    try:
        config = json.loads((directory / CONFIG_FILE).read_text(encoding="utf-8"))
        return {CONFIG_FILE, *config["files"]} if config["schema"] == SCHEMA else set()
    except (OSError, ValueError, TypeError, KeyError):
        return set()


@contextmanager
def _new_or_replaced(directory: Path) -> Iterator[Path]:
    """Yield a folder that becomes `directory` if the block succeeds; an earlier export is removed only then.

    Raises:
        OutputError: A folder can't be made, renamed or removed.
    """
    earlier = directory.with_name(f".{directory.name}.old")
    try:
        _settle(earlier, directory)  # of a run that was killed
        try:
            with atomic_directory(directory) as unfinished:
                yield unfinished
                if _exported_files(directory):
                    directory.rename(earlier)
                elif directory.exists():
                    directory.rmdir()
        finally:
            _settle(earlier, directory)
    except OSError as error:
        raise OutputError(f"{directory}: can't be written: {error.strerror or error}") from error


def _settle(earlier: Path, directory: Path) -> None:
    """Remove an export that was put aside; put it back where the new one did not come."""
    if not _exported_files(earlier):
        return
    if directory.exists():
        shutil.rmtree(earlier)
    else:
        earlier.rename(directory)

"""Graphs that OpenVINO computes on a CPU, compiled once and kept in the cache.

An entry of the cache is a directory: the exported graph (`graph.xml`, `graph.bin`), and what OpenVINO compiled of it
for this CPU, a folder for each precision; that of int8 also holds the graph with its roundings. The name of an entry
holds a hash of the weights, of the code that is traced and of the versions that convert it, so that it never has to be
invalidated. Torch is imported only to export.
"""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import EngineError
from promptseg.ops.fork_lock import QuietForkLock
from promptseg.runtime.graph import OUTPUT_PREFIX, Arrays, GraphSource
from promptseg.runtime.int8_products import Int8Fits, computes_exactly, put_int8, read_fits
from promptseg.runtime.silent_openvino import openvino
from promptseg.weights.cache import cache_dir, exclusive, workspace

logger = logging.getLogger(__name__)

Precision = Literal["f32", "bf16", "int8"]
PACKAGE = Path(__file__).parents[1]
# A default model's graphs take about 700 MB, half of it compiled; so several models stay.
MAX_CACHE_BYTES = 4_000_000_000
GRAPH_FILE = "graph.xml"
_NO_PERMISSION = (errno.EACCES, errno.EPERM, errno.EROFS)


class OpenVinoGraph:
    """A compiled graph. One caller at a time computes: a request has memory of its own.

    A fork waits until nothing is computed, because OpenVINO's own locks would stay locked in the child, which makes a
    request of its own.
    """

    def __init__(self, compiled: openvino.CompiledModel) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._process = os.getpid()
        self._outputs = [(port.node.friendly_name.removeprefix(OUTPUT_PREFIX), port) for port in compiled.outputs]
        self._lock = QuietForkLock()

    def __call__(self, **inputs: NDArray[Any]) -> Arrays:
        """Compute the outputs, by name, from the inputs, by name."""
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        with self._lock:
            if self._process != os.getpid():
                self._request = self._compiled.create_infer_request()
                self._process = os.getpid()
            # what goes in is read where it is; what comes back is a copy
            answers = self._request.infer(arrays, share_inputs=True)
            return {name: answers[port] for name, port in self._outputs}


class _Compiler:
    """OpenVINO's core, which a process needs once; one caller at a time uses it.

    A fork waits until nothing is compiled: the core has locks of its own, which would stay locked in the child.
    """

    def __init__(self) -> None:
        self._lock = QuietForkLock()
        self._core: openvino.Core | None = None

    def compile(self, model: openvino.Model | Path, settings: dict[str, Any]) -> OpenVinoGraph:
        """Compile a model, or the file of one, for this CPU."""
        with self._lock:
            return OpenVinoGraph(self._open().compile_model(model, "CPU", settings))

    def capabilities(self) -> frozenset[str]:
        """Name what this CPU computes by itself."""
        with self._lock:
            return frozenset(self._open().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))

    def convert(self, source: GraphSource) -> openvino.Model:
        """Export a graph of PyTorch."""
        # here and not above: only who exports needs torch
        from promptseg.runtime.export import convert

        step = source.build()
        with self._lock:
            return convert(step)

    def put_int8(self, graph: openvino.Model | Path, fits: Int8Fits) -> openvino.Model | None:
        """Let a graph, or the file of one, compute products in int8; None: they were fitted for other weights."""
        with self._lock:
            model = self._open().read_model(graph) if isinstance(graph, Path) else graph
            return model if put_int8(model, fits) else None

    def adds_int8_exactly(self) -> bool:
        """Whether this CPU adds products of 8 bits without loss."""
        with self._lock:
            return computes_exactly(self._open())

    def save(self, model: openvino.Model, path: Path) -> None:
        """Write a graph."""
        with self._lock:
            openvino.save_model(model, path, compress_to_fp16=False)  # half precision would change numbers

    def _open(self) -> openvino.Core:
        if self._core is None:
            self._core = openvino.Core()
        return self._core


@cache
def cpu_capabilities() -> frozenset[str]:
    """Name what this CPU computes by itself, as OpenVINO finds it: "FP32", "BF16", ..."""
    return _compiler().capabilities()


@cache
def adds_int8_exactly() -> bool:
    """Whether this CPU adds products of 8 bits without loss, which takes VNNI."""
    return _compiler().adds_int8_exactly()


def open_graph(source: GraphSource, *, precision: Precision, num_threads: int, report: Any = None) -> OpenVinoGraph:
    """Compile a graph for this CPU, or take it from the cache.

    An entry that is damaged is made anew, once. Where nobody may write to the cache, as in a container with a read-only
    file system, the graph is compiled for this process only, and a warning is logged.

    Args:
        source: Of the graph.
        precision: What OpenVINO computes in; "int8": products that were fitted for it, all else in bfloat16 where
            the CPU has it, in float32 elsewhere.
        num_threads: That it may take.
        report: Told the name of the graph before it is exported, or None.

    Raises:
        EngineError: The cache can't be written, for example because the disk is full.
    """
    entry = cache_dir() / "engines" / f"{source.name}-{_identify(source)}"
    fits = None
    if precision == "int8" and source.int8_fits is not None:
        fits = read_fits(PACKAGE / source.int8_fits)
    settings = {
        "INFERENCE_PRECISION_HINT": _precision_hint(precision),
        "INFERENCE_NUM_THREADS": num_threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # pinned, the single threads of several processes would share the first core
    }
    try:
        return _open(entry, source, settings, fits, report)
    except OSError as error:
        if error.errno in _NO_PERMISSION:
            logger.warning("%s can't be written: %s is compiled for this process only", entry.parent, source.name)
            return _compile_in_memory(source, settings, fits, report)
        raise _cache_error(entry, error) from error


def _precision_hint(precision: Precision) -> str:
    if precision == "int8":
        return "bf16" if "BF16" in cpu_capabilities() else "f32"
    return precision


def _compile_in_memory(
    source: GraphSource, settings: dict[str, Any], fits: Int8Fits | None, report: Any
) -> OpenVinoGraph:
    if report is not None:
        report(source.name)
    model = _compiler().convert(source)
    if fits is not None and _compiler().put_int8(model, fits) is None:
        _tell_of_other_weights(source.name)
    return _compiler().compile(model, settings)


def _open(
    entry: Path, source: GraphSource, settings: dict[str, Any], fits: Int8Fits | None, report: Any
) -> OpenVinoGraph:
    if (entry / GRAPH_FILE).is_file() and not os.access(entry.parent, os.W_OK):
        return _open_read_only(entry, settings, fits)
    with exclusive(entry):
        is_new = not (entry / GRAPH_FILE).is_file()
        if is_new:
            _make(entry, source, report)
        try:
            compiled = _compile(entry, settings, fits)
        except RuntimeError as error:
            logger.warning("%s is damaged and is made anew: %s", entry, error)
            _make(entry, source, report)
            compiled = _compile(entry, settings, fits)
        os.utime(entry)
        if is_new:
            # not each time: reading the sizes of all entries takes longer than opening one
            _forget_oldest(entry)
    return compiled


def _open_read_only(entry: Path, settings: dict[str, Any], fits: Int8Fits | None) -> OpenVinoGraph:
    """Open a graph of a cache that was made for many, such as a container's.

    What OpenVINO compiled there may be another user's, or of another CPU, which it can't remove: then the graph is
    compiled for this process only.
    """
    try:
        return _compile(entry, settings, fits)
    except RuntimeError as error:
        logger.warning("%s: what was compiled earlier can't be used: %s", entry, error)
    try:
        return _compile(entry, settings, fits, reuse=False)
    except RuntimeError as error:
        raise EngineError(
            f"{entry} is damaged and can't be made anew, for {entry.parent} is read-only: "
            "set PROMPTSEG_CACHE to a directory that can be written"
        ) from error


def _compile(entry: Path, settings: dict[str, Any], fits: Int8Fits | None, *, reuse: bool = True) -> OpenVinoGraph:
    # OpenVINO checks what it compiled earlier against its version and this CPU. Its smaller cache
    # (CACHE_MODE=OPTIMIZE_SIZE, 2026.4) gave empty maps once it was read. It also takes what was compiled for one
    # precision for that of another: each has a directory of its own.
    graph: openvino.Model | Path = entry / GRAPH_FILE
    compiled_dir = entry / str(settings["INFERENCE_PRECISION_HINT"])
    if fits is not None and (rounded := _rounded_graph(entry, fits)) is not None:
        graph, compiled_dir = rounded, _int8_dir(entry, fits) / compiled_dir.name
    if reuse and (compiled_dir.is_dir() or os.access(entry, os.W_OK)):
        settings = {**settings, "CACHE_DIR": str(compiled_dir)}
    return _compiler().compile(graph, settings)


def _rounded_graph(entry: Path, fits: Int8Fits) -> openvino.Model | Path | None:
    """Give the graph of an entry with products in int8, which the entry keeps where it can be written.

    None: the fits are for other weights, such as those of a model that a user fine-tuned.
    """
    path = _int8_dir(entry, fits) / GRAPH_FILE
    if path.is_file():
        return path
    model = _compiler().put_int8(entry / GRAPH_FILE, fits)
    if model is None:
        _tell_of_other_weights(entry.name)
        return None
    if not os.access(entry.parent, os.W_OK):
        return model
    with workspace(entry) as work:
        _save(model, work / GRAPH_FILE)
        # the graph comes last: an entry that has it has its weights, too
        path.parent.mkdir(exist_ok=True)
        for file in sorted(work.iterdir()):
            file.rename(path.parent / file.name)
    return path


def _int8_dir(entry: Path, fits: Int8Fits) -> Path:
    return entry / f"int8-{fits.digest[:16]}"


def _tell_of_other_weights(name: str) -> None:
    logger.info("%s: int8 was fitted for other weights; it is computed without", name)


@cache
def _compiler() -> _Compiler:
    return _Compiler()


def _make(entry: Path, source: GraphSource, report: Any) -> None:
    """Export a graph to its entry, which appears whole or not at all."""
    if report is not None:
        report(source.name)
    logger.info("compiling %s for this processor", source.name)
    with workspace(entry) as work:
        (work / "entry").mkdir()
        _export(source, work / "entry" / GRAPH_FILE)
        if entry.exists():
            shutil.rmtree(entry)
        (work / "entry").rename(entry)


def _export(source: GraphSource, path: Path) -> None:
    _save(_compiler().convert(source), path)


def _save(graph: openvino.Model, path: Path) -> None:
    try:
        _compiler().save(graph, path)
    except RuntimeError as error:
        # OpenVINO tells of a full disk or a quota by a C++ stream's error, without its number.
        is_full = shutil.disk_usage(path.parent).free < 64_000_000
        number = errno.ENOSPC if is_full else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error


def _identify(source: GraphSource) -> str:
    digest = hashlib.sha256(source.identity.encode())
    digest.update(_code_and_versions(source.code).encode())
    return digest.hexdigest()[:16]


@cache
def _code_and_versions(code: tuple[str, ...]) -> str:
    digest = hashlib.sha256()
    for package in ("openvino", "torch", "transformers"):  # those that convert
        digest.update(f"{package} {version(package)}\n".encode())
    for path in _files((*code, "runtime")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(code: Iterable[str]) -> Iterator[Path]:
    for part in code:
        path = PACKAGE / part
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


def _forget_oldest(current: Path) -> None:
    """Remove the entries that were used longest ago, until the rest fits; other processes keep what they have read."""
    total = 0
    entries = [path for path in current.parent.iterdir() if path.is_dir() and not path.name.startswith(".")]
    for entry in sorted(entries, key=lambda path: path.stat().st_mtime, reverse=True):
        with contextlib.suppress(OSError):  # another process may be at it too
            total += sum(path.stat().st_size for path in entry.rglob("*") if path.is_file())
        if total > MAX_CACHE_BYTES and entry != current:
            shutil.rmtree(entry, ignore_errors=True)


def _cache_error(entry: Path, error: OSError) -> EngineError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return EngineError(
            f"the disk is full: {entry.parent} has no room for compiled graphs; free about 1 GB, or set "
            "PROMPTSEG_CACHE to a directory on another disk"
        )
    return EngineError(
        f"{entry.parent} can't be written ({error.strerror or error}): "
        "set PROMPTSEG_CACHE to a directory that can, or use engine torch"
    )

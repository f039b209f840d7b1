"""OpenVINO graphs in the cache: made once for the same weights and code, and forgotten by age."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino
from torch import Tensor

from promptseg.errors import EngineError
from promptseg.weights.cache import cache_dir, exclusive, forget_oldest, workspace


@cache
def cpu_capabilities() -> frozenset[str]:
    """Name what this CPU computes by itself, as OpenVINO finds it: "FP32", "BF16", ..."""
    return frozenset(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def identify(description: str, state: Mapping[str, Tensor], sources: Iterable[Path]) -> str:
    """Hash all that graphs depend on.

    Args:
        description: Of what is compiled, and for which sizes.
        state: Its weights, on the CPU.
        sources: This package's code that is traced.
    """
    digest = hashlib.sha256(description.encode())
    # those who convert it
    for package in ("openvino", "torch", "transformers"):
        digest.update(f"{package} {version(package)}".encode())
    for source in sources:
        digest.update(source.read_bytes())
    for name, tensor in state.items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()[:16]


def compile_cached(
    kind: str,
    identity: str,
    export: Callable[[Path], None],
    options: Mapping[str, object],
    *,
    num_kept: int,
) -> dict[str, openvino.CompiledModel]:
    """Compile graphs for this CPU, or take them from the cache.

    Args:
        kind: What they are of, such as "masker".
        identity: From `identify`.
        export: Writes them, NAME.xml each, to a directory that is not there yet; called where the cache has none.
        options: Of OpenVINO's CPU plugin, with its INFERENCE_PRECISION_HINT.
        num_kept: So many entries of this kind stay in the cache, those used last.

    Returns:
        By name.

    Raises:
        EngineError: The cache can't be written.
    """
    entry = cache_dir() / "engines" / f"{kind}-{identity}"
    try:
        with exclusive(entry):
            if not entry.is_dir():
                with workspace(entry) as work:
                    export(work / "graphs")
                    (work / "graphs").rename(entry)
            os.utime(entry)
            forget_oldest(entry.parent.glob(f"{kind}-*"), num_kept)
            # OpenVINO checks what it compiled earlier against its version and this CPU. Its smaller cache
            # (CACHE_MODE=OPTIMIZE_SIZE, 2026.4) gave empty maps once it was read.
            # It also takes what was compiled for one precision for that of another: each has a directory of its own.
            settings = {**options, "CACHE_DIR": str(entry / str(options["INFERENCE_PRECISION_HINT"]))}
            core = openvino.Core()
            return {path.stem: core.compile_model(path, "CPU", settings) for path in sorted(entry.glob("*.xml"))}
    except OSError as error:
        raise EngineError(
            f"{entry.parent} can't be written ({error.strerror or error}): "
            "set PROMPTSEG_CACHE to a directory that can, or use engine torch"
        ) from error

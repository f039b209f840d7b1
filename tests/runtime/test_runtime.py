"""Graphs by either engine: made once, kept in the cache, the same numbers from there; errors that name the way out."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from promptseg.errors import EngineError
from promptseg.runtime import GraphSource, Runtime, Step
from promptseg.runtime import openvino_graph as opened

MAPS = np.random.default_rng(0).normal(size=(1, 3, 16, 20)).astype(np.float32)
SCALE = np.array([2.0], np.float32)
COMPILED = Runtime("openvino")


class Network(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 4, 1))

    def forward(self, maps: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        result = self.layers(maps) * scale
        return result, result.mean(dim=(1, 2, 3))


def source(seed: int = 0, build: Callable[[], Step] | None = None) -> GraphSource:
    def build_step() -> Step:
        example = {"maps": torch.zeros(1, 3, 16, 20), "scale": torch.ones(1)}
        return Step(Network(seed), example, {"maps": (0,)}, ("result", "mean"))

    return GraphSource("network", f"seed {seed}", build or build_step)


def never() -> Step:
    raise AssertionError("the graph is in the cache")


def answer(seed: int = 0, maps: NDArray[np.float32] = MAPS) -> dict[str, NDArray[Any]]:
    return COMPILED.graph(source(seed))(maps=maps, scale=SCALE)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


def test_both_engines_give_the_same_named_arrays() -> None:
    with torch.inference_mode():
        expected = [each.numpy() for each in Network()(torch.from_numpy(MAPS), torch.tensor(2.0))]
    for runtime in (Runtime("torch"), COMPILED):
        found = runtime.graph(source())(scale=SCALE, maps=MAPS)  # in any order
        assert set(found) == {"result", "mean"}
        np.testing.assert_allclose(found["result"], expected[0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(found["mean"], expected[1], rtol=1e-4, atol=1e-5)


class Chain(nn.Module):
    """Every output is an inner value of the next one."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            self.steps = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))

    def forward(self, maps: Tensor) -> tuple[Tensor, ...]:
        fine = self.steps[0](maps)
        middle = self.steps[1](fine)
        return self.steps[2](middle), middle, fine


def test_outputs_that_are_inner_values_keep_their_names() -> None:
    step = Step(Chain(), {"maps": torch.zeros(1, 3, 16, 20)}, {}, ("coarse", "middle", "fine"))
    found, expected = (
        runtime.graph(GraphSource("chain", "0", lambda: step))(maps=MAPS) for runtime in (COMPILED, Runtime("torch"))
    )
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-5)


def test_a_free_axis_takes_any_length() -> None:
    one = answer()["result"]
    np.testing.assert_allclose(answer(maps=MAPS.repeat(3, axis=0))["result"], one.repeat(3, axis=0), atol=1e-5)


def test_what_is_given_out_is_not_overwritten_by_the_next_call() -> None:
    graph = COMPILED.graph(source())
    first = graph(maps=MAPS, scale=SCALE)["result"]
    before = first.copy()
    graph(maps=MAPS, scale=3 * SCALE)
    np.testing.assert_array_equal(first, before)


def test_threads_may_share_a_graph() -> None:
    graph = COMPILED.graph(source())
    factors = [np.array([float(factor)], np.float32) for factor in range(1, 9)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda factor: graph(maps=MAPS, scale=factor)["mean"], factors))
    np.testing.assert_allclose(found, np.array(factors) * found[0], rtol=1e-4)


def test_a_graph_in_the_cache_is_not_built_again(cache: Path) -> None:
    first = answer()["result"]
    (entry,) = cache.glob("network-*")
    assert list(entry.glob("f32/*.blob")), "what OpenVINO compiled is kept too"
    again = COMPILED.graph(source(build=never))(maps=MAPS, scale=SCALE)["result"]
    np.testing.assert_array_equal(again, first)


WARM = """
import sys
import numpy as np
from promptseg.runtime import GraphSource, Runtime

graph = Runtime("openvino").graph(GraphSource("network", "seed 0", build=None))
graph(maps=np.zeros((1, 3, 16, 20), np.float32), scale=np.ones(1, np.float32))
print(*sorted(name for name in ("torch", "transformers", "scipy") if name in sys.modules))
"""


def test_a_graph_in_the_cache_needs_no_torch() -> None:
    answer()
    run = subprocess.run([sys.executable, "-c", WARM], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == ""


def test_other_weights_are_other_graphs(cache: Path) -> None:
    assert not np.allclose(answer(0)["result"], answer(1)["result"])
    assert len(list(cache.glob("network-*"))) == 2


def test_precisions_are_kept_apart(cache: Path) -> None:
    """Compiled in bfloat16 first, a graph is still exact in float32."""
    rounded = Runtime("openvino-bf16").graph(source())(maps=MAPS, scale=SCALE)["result"]
    exact = COMPILED.graph(source(build=never))(maps=MAPS, scale=SCALE)["result"]
    with torch.inference_mode():
        expected = Network()(torch.from_numpy(MAPS), torch.tensor(2.0))[0].numpy()
    np.testing.assert_allclose(exact, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(rounded, expected, atol=0.05)
    (entry,) = cache.glob("network-*")
    assert {path.name for path in entry.iterdir() if path.is_dir()} == {"f32", "bf16"}


@pytest.mark.parametrize("pattern", ["graph.xml", "f32/*.blob"])
def test_a_damaged_entry_is_made_anew(cache: Path, pattern: str) -> None:
    first = answer()["result"]
    (entry,) = cache.glob("network-*")
    for path in entry.glob(pattern):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    np.testing.assert_array_equal(answer()["result"], first)
    again = COMPILED.graph(source(build=never))(maps=MAPS, scale=SCALE)["result"]
    np.testing.assert_array_equal(again, first)


def test_a_graph_is_reported_before_it_is_made_and_not_when_it_is_there() -> None:
    reports: list[str] = []
    for _ in range(2):
        Runtime("openvino", report=reports.append).graph(source())
    assert reports == ["network"]


def test_a_read_only_cache_that_has_the_graph_works(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = answer()["result"]
    before = sorted(cache.rglob("*"))
    # as root, for whom nothing is read-only
    monkeypatch.setattr(opened, "os", SimpleNamespace(access=lambda *_: False, W_OK=os.W_OK, getpid=os.getpid))
    again = COMPILED.graph(source(build=never))(maps=MAPS, scale=SCALE)["result"]
    np.testing.assert_array_equal(again, first)
    assert sorted(cache.rglob("*")) == before


def test_what_another_user_compiled_in_a_read_only_cache_is_compiled_anew(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = answer()["result"]
    compile_graph = opened._Compiler.compile

    def refuse_cached(self: Any, graph: Any, settings: dict[str, Any]) -> Any:
        if "CACHE_DIR" in settings:  # as OpenVINO does with a stale file that it can't remove; root can
            raise RuntimeError("Permission denied")
        return compile_graph(self, graph, settings)

    monkeypatch.setattr(opened._Compiler, "compile", refuse_cached)
    monkeypatch.setattr(opened, "os", SimpleNamespace(access=lambda *_: False, W_OK=os.W_OK, getpid=os.getpid))
    np.testing.assert_array_equal(COMPILED.graph(source(build=never))(maps=MAPS, scale=SCALE)["result"], first)
    assert "what was compiled earlier can't be used" in caplog.text


def test_a_damaged_entry_of_a_read_only_cache_is_an_error(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer()
    (entry,) = cache.glob("network-*")
    (entry / "graph.xml").write_text("damaged")
    monkeypatch.setattr(opened, "os", SimpleNamespace(access=lambda *_: False, W_OK=os.W_OK, getpid=os.getpid))
    with pytest.raises(EngineError, match=r"network-.* is damaged and can't be made anew"):
        COMPILED.graph(source())


def test_a_full_disk_is_an_error_that_says_so(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("basic_ios::clear: iostream error")

    monkeypatch.setattr("openvino.save_model", fail)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(EngineError, match=r"the disk is full: .* set PROMPTSEG_CACHE to a directory on another disk"):
        answer()
    assert not list(cache.glob("network-*")), "nothing half-made is left"


def test_a_cache_that_can_not_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match="set PROMPTSEG_CACHE to a directory that can, or use engine torch"):
        answer()


def test_the_cache_forgets_the_graphs_that_were_not_used_for_long(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (0, 1):
        answer(seed)
        (entry,) = (path for path in cache.glob("network-*") if path.stat().st_mtime > 1000 + seed)
        os.utime(entry, (1000 + seed, 1000 + seed))
    size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    monkeypatch.setattr(opened, "MAX_CACHE_BYTES", int(size * 1.2))
    answer(2)
    kept = list(cache.glob("network-*"))
    assert len(kept) == 2
    for seed in (1, 2):
        COMPILED.graph(source(seed, build=never))


@pytest.mark.parametrize(
    ("engine", "device", "message"),
    [
        ("tensorrt", "cpu", "no engine is named 'tensorrt'; use auto, torch, openvino"),
        ("torch", "abacus", "'abacus' is not a device; use auto, cpu"),
        ("torch", "cuda:99", "there is no device 'cuda:99' here; use auto or cpu"),
    ],
)
def test_unknown_engines_and_devices_are_named(engine: str, device: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        Runtime.choose(engine, device)

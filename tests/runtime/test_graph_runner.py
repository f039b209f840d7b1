"""Compiled modules: made once, kept in the cache, the same numbers from there."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from promptseg.errors import EngineError
from promptseg.runtime.graph_runner import NUM_KEPT, GraphRunner

INPUT = torch.randn(1, 3, 16, 20, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(seed)
            self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 4, 1))

    def forward(self, maps: Tensor) -> Tensor:
        result: Tensor = self.layers(maps)
        return result


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "engines"


@torch.inference_mode()
def run(network: nn.Module, maps: Tensor = INPUT) -> Tensor:
    (found,) = GraphRunner("openvino", num_threads=1).run("network", network.eval(), (maps,), {0: (0,)})
    return found


def test_a_second_runner_takes_what_the_first_made(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(Network())
    torch.testing.assert_close(first, Network()(INPUT), rtol=1e-4, atol=1e-5)
    (entry,) = cache.glob("masker-*")
    assert list(entry.glob("*/*.blob")), "what OpenVINO compiled is kept too"
    monkeypatch.setattr("promptseg.runtime.graph_runner._convert", None)  # making it again would fail
    torch.testing.assert_close(run(Network()), first, rtol=0, atol=0)
    # another length of a free axis is the same graph
    torch.testing.assert_close(run(Network(), INPUT.repeat(3, 1, 1, 1)), first.repeat(3, 1, 1, 1))


def test_other_weights_and_other_sizes_are_other_graphs(cache: Path) -> None:
    for network, maps in ((Network(), INPUT), (Network(seed=1), INPUT), (Network(), INPUT[..., 4:])):
        torch.testing.assert_close(run(network, maps), network(maps), rtol=1e-4, atol=1e-5)
    assert len(list(cache.glob("masker-*"))) == 3


def test_the_cache_forgets_what_was_not_used_for_long(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptseg.runtime.graph_runner.NUM_KEPT", 2)
    assert NUM_KEPT >= 12, "one masker needs so many"
    for seed in (0, 1, 0, 2):
        run(Network(seed))
    kept = set(cache.glob("masker-*"))
    run(Network(0))
    assert set(cache.glob("masker-*")) == kept, "the oldest was seed 1"


def test_a_cache_that_can_not_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match="PROMPTSEG_CACHE to a directory that can"):
        run(Network())

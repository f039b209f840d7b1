"""Engine openvino-int8: the default model's masks are nearly those of float32, and fits belong to their weights."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import promptseg
from promptseg.errors import EngineError
from promptseg.image_files import bundled_image
from promptseg.runtime import GraphSource, Runtime, Step
from promptseg.runtime.int8_products import (
    Int8Fits,
    ProductFit,
    find_products,
    fold_constants,
    input_grid,
    put_int8,
    read_fits,
    write_fits,
)
from promptseg.runtime.openvino_graph import adds_int8_exactly, cpu_capabilities
from promptseg.runtime.silent_openvino import openvino
from promptseg.weights.cache import cache_dir

needs_vnni = pytest.mark.skipif(not adds_int8_exactly(), reason="this CPU adds products of 8 bits with losses")
RANDOM = np.random.default_rng(0)
MAPS = RANDOM.normal(size=(1, 3, 24, 32)).astype(np.float32)


class Layers(nn.Module):
    """A filter, and a product of matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = nn.Conv2d(3, 16, 3, padding=1)
        self.mix = nn.Linear(16, 8)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.mix(torch.relu(self.filter(maps)).permute(0, 2, 3, 1))
        return mixed


def build(seed: int = 0) -> Step:
    torch.manual_seed(seed)
    return Step(Layers().eval(), {"maps": torch.from_numpy(MAPS)}, {"maps": (-2, -1)}, ("mixed",))


def exported(seed: int = 0) -> openvino.Model:
    from promptseg.runtime.export import convert

    graph = convert(build(seed))
    fold_constants(graph)
    return graph


def fitted(seed: int = 0) -> Int8Fits:
    graph = exported(seed)
    of_filter, of_mix = (product.digest for product in find_products(graph))
    zeros = {name: np.zeros(length, np.float16) for name, length in ((of_filter, 16), (of_mix, 8))}
    scales = np.linspace(0.5, 2.0, 16).astype(np.float16)
    fits = {of_filter: ProductFit(-4.0, 4.0, zeros[of_filter]), of_mix: ProductFit(0.0, 6.0, zeros[of_mix], scales)}
    return Int8Fits(fits)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    write_fits(fitted(), tmp_path / "cache" / "fits.npz")
    return tmp_path / "cache" / "engines"


def mixed(engine: str, seed: int = 0) -> np.ndarray:
    fits = cache_dir() / "fits.npz"
    source = GraphSource("layers", f"seed {seed}", lambda: build(seed), int8_fits=str(fits))
    return Runtime(engine).graph(source)(maps=MAPS)["mixed"]  # type: ignore[arg-type]


@needs_vnni
def test_products_are_rounded_and_kept_apart_from_those_in_float32(cache: Path) -> None:
    rounded, exact = mixed("openvino-int8"), mixed("openvino")
    error = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
    assert 1e-4 < error < 0.03
    (entry,) = cache.glob("layers-*")
    (of_int8,) = entry.glob("int8-*")
    assert (of_int8 / "graph.xml").is_file() and list(of_int8.glob("*/*.blob"))
    np.testing.assert_array_equal(mixed("openvino-int8"), rounded)


@needs_vnni
def test_a_cache_that_others_made_is_only_read(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mixed("openvino")
    (entry,) = cache.glob("layers-*")
    monkeypatch.setattr("promptseg.runtime.openvino_graph.os.access", lambda *_: False)
    rounded = mixed("openvino-int8")
    monkeypatch.undo()
    assert not list(entry.glob("int8-*")) and np.isfinite(rounded).all()


@needs_vnni
def test_other_weights_are_computed_without_and_it_is_said(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        other = mixed("openvino-int8", seed=1)
    assert "int8 was fitted for other weights; it is computed without" in caplog.text
    without = "openvino-bf16" if "BF16" in cpu_capabilities() else "openvino"
    np.testing.assert_array_equal(other, mixed(without, seed=1))


def test_fits_are_for_all_products_or_none() -> None:
    fits = fitted()
    assert put_int8(exported(), fits)
    of_another = replace(fits, products={**fits.products, "0" * 16: next(iter(fits.products.values()))})
    assert not put_int8(exported(), of_another)


def test_fits_are_read_as_they_were_written(tmp_path: Path) -> None:
    fits = fitted()
    write_fits(fits, tmp_path / "fits.npz")
    again = read_fits(tmp_path / "fits.npz")
    assert list(again.products) == list(fits.products)
    for name, fit in fits.products.items():
        assert (again.products[name].low, again.products[name].high) == (fit.low, fit.high)
        np.testing.assert_array_equal(again.products[name].scales, fit.scales)
        np.testing.assert_array_equal(again.products[name].bias, fit.bias)


@pytest.mark.parametrize(("low", "high"), [(-0.17, 6.0), (0.0, 6.0), (-5.0, 0.0), (-1e-5, 100.0)])
def test_zero_is_a_value_of_the_grid(low: float, high: float) -> None:
    bottom, top = input_grid(low, high)
    zero = -bottom / (top - bottom) * 255
    assert zero == pytest.approx(round(zero), abs=1e-6) and bottom <= low and top >= high


def test_a_cpu_that_loses_sums_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("promptseg.runtime.openvino_graph.adds_int8_exactly", lambda: False)
    with pytest.raises(EngineError, match=r"openvino-int8 needs a CPU with VNNI .*use engine openvino or auto"):
        Runtime.choose("openvino-int8", "cpu")


def test_openvino_is_loaded_without_its_reports() -> None:
    code = "import promptseg.runtime.openvino_graph, sys; print('openvino_telemetry' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "False"


@needs_vnni
@pytest.mark.weights
@pytest.mark.parametrize(
    ("image", "phrases"), [("chelsea", ["cat", "the cat's left ear"]), ("astronaut", ["person", "face"])]
)
def test_masks_of_the_default_model_are_nearly_those_of_float32(image: str, phrases: list[str]) -> None:
    exact, rounded = (
        promptseg.load(device="cpu", engine=engine, offline=True).segment(bundled_image(image), phrases)
        for engine in ("openvino", "openvino-int8")
    )
    for one, other in zip(rounded, exact, strict=True):
        assert one.presence == pytest.approx(other.presence, abs=0.05)
        assert one.status == other.status
        assert (one.mask & other.mask).sum() >= 0.9 * (one.mask | other.mask).sum()

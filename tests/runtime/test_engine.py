"""Engines: OpenVINO gives what PyTorch gives, at any size and number, and says clearly what it can't do."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch

import promptseg
from promptseg.errors import EngineError
from promptseg.image_files import bundled_image
from promptseg.images import read_image
from promptseg.models.build import build_seeded
from promptseg.models.registry import find_row, segment_with
from promptseg.prompts import to_queries
from promptseg.runtime import Graph, GraphSource, Runtime, Step
from promptseg.runtime.openvino_graph import cpu_capabilities
from promptseg.segmenter import Prediction, Segmenter

CHELSEA = read_image(bundled_image("chelsea"))
# wide, tall, and a strip: every shape that an image may have
IMAGES = {"chelsea": CHELSEA, "tall": CHELSEA[:, :200], "strip": CHELSEA[:60]}
TEXTS = ["grass", "the cat's left ear", "x", "a phrase that is longer than the one that the graph was traced by"]
TINY = ["promptseg-test", "promptseg-test-dense", "promptseg-s1-test", "promptseg-test-vit", "clipseg-test"]
LOGIT_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _use_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSEG_CACHE", str(cache))


def answer(segmenter: Segmenter, image_rgb: np.ndarray, texts: list[str]) -> Prediction:
    return segmenter.segment(segmenter.encode_image(np.ascontiguousarray(image_rgb)), to_queries(texts))


def assert_close(prediction: Prediction, expected: Prediction, tolerance: float = LOGIT_TOLERANCE) -> None:
    np.testing.assert_allclose(prediction.mask_logits, expected.mask_logits, atol=tolerance, rtol=0)
    np.testing.assert_allclose(prediction.presence, expected.presence, atol=tolerance, rtol=0)
    np.testing.assert_allclose(prediction.mask_quality, expected.mask_quality, atol=tolerance, rtol=0)


@pytest.mark.parametrize("name", TINY)
def test_openvino_gives_what_torch_gives(name: str) -> None:
    network = build_seeded(find_row(name).config).eval()
    plain, compiled = segment_with(network), segment_with(network, Runtime("openvino"))
    for image_rgb in IMAGES.values():
        for texts in (TEXTS, TEXTS[:1], TEXTS * 5):
            assert_close(answer(compiled, image_rgb, texts), answer(plain, image_rgb, texts))
    assert len(compiled.segment(compiled.encode_image(CHELSEA), []).presence) == 0


@pytest.mark.parametrize("name", TINY)
def test_bfloat16_gives_nearly_the_same(name: str) -> None:
    network = build_seeded(find_row(name).config).eval()
    expected = answer(segment_with(network), CHELSEA, TEXTS)
    rounded = answer(segment_with(network, Runtime("openvino-bf16")), CHELSEA, TEXTS)
    change = np.linalg.norm(rounded.mask_logits - expected.mask_logits) / np.linalg.norm(expected.mask_logits)
    assert change < 0.05
    np.testing.assert_allclose(rounded.presence, expected.presence, atol=0.1)


def test_an_embedding_is_read_by_either_engine() -> None:
    plain, compiled = (promptseg.load("promptseg-test", device="cpu", engine=name) for name in ("torch", "openvino"))
    assert plain.fingerprint == compiled.fingerprint
    embedding = plain.encode(CHELSEA)
    for one, other in zip(compiled.segment(embedding, TEXTS), plain.segment(embedding, TEXTS), strict=True):
        assert one.presence == pytest.approx(other.presence, abs=LOGIT_TOLERANCE)
        np.testing.assert_allclose(one.mask_logits, other.mask_logits, atol=LOGIT_TOLERANCE)


def test_threads_share_a_compiled_model() -> None:
    segmenter = segment_with(build_seeded(find_row("promptseg-test").config).eval(), Runtime("openvino"))
    expected = {name: answer(segmenter, image_rgb, TEXTS) for name, image_rgb in IMAGES.items()}
    with ThreadPoolExecutor(4) as pool:
        for name, prediction in pool.map(lambda each: (each, answer(segmenter, IMAGES[each], TEXTS)), 4 * [*IMAGES]):
            assert_close(prediction, expected[name], 1e-5)


def test_other_weights_have_other_graphs() -> None:
    network = build_seeded(find_row("promptseg-test").config).eval()
    before = answer(segment_with(network, Runtime("openvino")), CHELSEA, TEXTS)
    with torch.no_grad():
        for parameter in network.neck.parameters():
            parameter.mul_(1.5)
    after = answer(segment_with(network, Runtime("openvino")), CHELSEA, TEXTS)
    assert not np.allclose(before.mask_logits, after.mask_logits, atol=LOGIT_TOLERANCE)
    assert_close(after, answer(segment_with(network), CHELSEA, TEXTS))


SCRIPT = """
import sys
import numpy as np
import promptseg
report = lambda name: print("compiled", name)
model = promptseg.load("promptseg-test", device="cpu", engine="openvino", report_compile=report)
np.save(sys.argv[2], np.stack([each.mask_logits for each in model.segment(sys.argv[1], sys.argv[3:])]))
print("loaded", *sys.modules)
"""


def test_another_process_gets_the_same_from_the_cache_without_torch(cache: Path, tmp_path: Path) -> None:
    """With CACHE_MODE=OPTIMIZE_SIZE, OpenVINO 2026.4 gave empty maps of a larger model once its cache was read."""
    expected = promptseg.load("promptseg-test", device="cpu", engine="openvino").segment(CHELSEA, TEXTS)
    assert list(cache.glob("engines/promptseg-*/*/*.blob")), "there is something to load"
    command = [sys.executable, "-c", SCRIPT, bundled_image("chelsea"), tmp_path / "maps.npy", *TEXTS]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "compiled" not in done.stdout
    loaded = set(done.stdout.split())
    assert "openvino" in loaded and not loaded & {"torch", "transformers", "scipy"}
    np.testing.assert_allclose(
        np.load(tmp_path / "maps.npy"), np.stack([each.mask_logits for each in expected]), atol=LOGIT_TOLERANCE
    )


# One small graph: how the cache treats it.


class Twice(torch.nn.Module):
    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = weight

    def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return maps * self.weight, maps.mean(dim=(1, 2))


def open_twice(weight: float = 2.0, report: object = None) -> Graph:
    step = Step(Twice(weight), {"maps": torch.ones(1, 4, 6)}, {"maps": (0, 2)}, ("scaled", "mean"))
    return Runtime("openvino", report=report).graph(GraphSource("twice", str(weight), lambda: step))  # type: ignore[arg-type]


def test_a_graph_keeps_names_and_takes_any_length_of_a_free_axis() -> None:
    for shape in ((1, 4, 6), (3, 4, 9)):
        maps = np.random.default_rng(0).normal(size=shape).astype(np.float32)
        found = open_twice()(maps=maps)
        assert found.keys() == {"scaled", "mean"}
        np.testing.assert_allclose(found["scaled"], 2 * maps, atol=1e-5)
        np.testing.assert_allclose(found["mean"], maps.mean(axis=(1, 2)), atol=1e-5)


def test_outputs_keep_their_names_where_an_operation_does_nothing() -> None:
    """OpenVINO then gives one tensor the names of several."""

    class Nothing(torch.nn.Module):
        def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            similarity = maps * 2.0
            return similarity + 0.0, similarity.amax(dim=(1, 2))

    step = Step(Nothing(), {"maps": torch.ones(1, 4, 6)}, {"maps": (0,)}, ("mask_logits", "highest"))
    for _ in range(2):  # compiled, then from the cache
        graph = Runtime("openvino").graph(GraphSource("nothing", "1", lambda: step))
        found = graph(maps=np.ones((2, 4, 6), dtype=np.float32))
        assert {name: each.shape for name, each in found.items()} == {"mask_logits": (2, 4, 6), "highest": (2,)}


def test_a_graph_is_compiled_once_for_the_same_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path))
    reported: list[str] = []
    for weight in (2.0, 2.0, 3.0, 2.0):
        open_twice(weight, reported.append)
    assert reported == ["twice", "twice"]
    assert len(list((tmp_path / "engines").glob("twice-*"))) == 2


def test_a_damaged_entry_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path))
    open_twice()
    (entry,) = (tmp_path / "engines").glob("twice-*")
    for path in entry.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])
    maps = np.ones((1, 4, 6), dtype=np.float32)
    np.testing.assert_allclose(open_twice()(maps=maps)["scaled"], 2 * maps)


def test_the_cache_forgets_what_was_not_used_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path))
    engines = tmp_path / "engines"
    for age, weight in enumerate((3.0, 2.0)):
        open_twice(weight)
        newest = max(engines.glob("twice-*"), key=lambda path: path.stat().st_mtime)
        os.utime(newest, (1000 - age, 1000 - age))
    kept = {max(engines.glob("twice-*"), key=lambda path: path.stat().st_mtime)}
    one_size = sum(path.stat().st_size for path in next(iter(kept)).rglob("*") if path.is_file())
    monkeypatch.setattr("promptseg.runtime.openvino_graph.MAX_CACHE_BYTES", int(2.5 * one_size))
    open_twice(4.0)
    left = set(engines.glob("twice-*"))
    assert len(left) == 2 and kept <= left, "the one that was used longest ago is gone"


def test_a_cache_that_can_not_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match=r"can't be written .*: set PROMPTSEG_CACHE to a directory that can, or use"):
        open_twice()


# Which engine, on which device.


@pytest.mark.parametrize(
    ("capabilities", "has_vnni", "engine"),
    [
        ({"FP32"}, False, "openvino"),
        ({"FP32"}, True, "openvino-int8"),
        ({"FP32", "BF16"}, False, "openvino-bf16"),
        ({"FP32", "BF16"}, True, "openvino-int8"),
    ],
)
def test_auto_takes_what_the_cpu_computes_fastest(
    capabilities: set[str], has_vnni: bool, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("promptseg.runtime.openvino_graph.adds_int8_exactly", lambda: has_vnni)
    monkeypatch.setattr("promptseg.runtime.openvino_graph.cpu_capabilities", lambda: frozenset(capabilities))
    assert Runtime.choose("auto", "cpu").engine == engine


def test_openvino_names_what_the_cpu_has() -> None:
    assert "FP32" in cpu_capabilities()
    assert cpu_capabilities() == set(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


@pytest.mark.parametrize("asked", ["auto", "torch", "openvino", "openvino-bf16"])
def test_a_predictor_says_which_engine_runs(asked: str) -> None:
    engine = Runtime.choose(asked, "cpu").engine
    assert engine == asked or (asked == "auto" and engine.startswith("openvino"))
    assert promptseg.load("promptseg-test", device="cpu", engine=asked).engine == engine


def test_openvino_runs_on_the_cpu_whatever_else_is_there() -> None:
    assert Runtime.choose("openvino", "auto").device == "cpu"


@pytest.mark.parametrize(
    ("engine", "device", "message"),
    [
        ("tensorrt", "auto", "no engine is named 'tensorrt'; use auto, torch, openvino, openvino-bf16, openvino-int8"),
        ("torch", "cuda:64", "there is no device 'cuda:64' here; use auto or cpu"),
        ("torch", "meta", "there is no device 'meta' here; use auto or cpu"),
        ("torch", "gpu", "'gpu' is not a device; use auto, cpu, cuda, cuda:1 or mps"),
    ],
)
def test_what_is_not_here_is_refused(engine: str, device: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        Runtime.choose(engine, device)


def test_openvino_is_refused_off_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(EngineError, match="openvino runs on the CPU, not on cuda: use engine torch or auto, or device"):
        Runtime.choose("openvino", "cuda")
    assert Runtime.choose("auto", "cuda").engine == "torch"


@pytest.mark.parametrize(("given", "expected"), [("3", 3), ("0", None), ("many", None), ("", None)])
def test_threads_are_those_of_the_process_or_of_omp(
    given: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert Runtime("openvino").num_threads == (expected or len(os.sched_getaffinity(0)))

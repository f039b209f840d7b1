"""Engines: OpenVINO gives what PyTorch gives, at any size and number, and says clearly what it can't do."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import promptseg
from promptseg.errors import EngineError
from promptseg.images import read_image
from promptseg.models.promptseg.network import PromptSeg
from promptseg.models.registry import find_record, load_model
from promptseg.photos import find_photo
from promptseg.runtime import ENGINES, build_segmenter, resolve_engine
from promptseg.runtime import graph_cache as graphs
from promptseg.runtime.network_graphs import NUM_KEPT
from promptseg.runtime.openvino import OpenVinoSegmenter
from promptseg.segmenter import Prediction, Segmenter

CHELSEA = read_image(find_photo("chelsea"))
# wide, tall, and a strip: every shape that an image may have
IMAGES = {"chelsea": CHELSEA, "tall": CHELSEA[:, :200], "strip": CHELSEA[:60]}
TEXTS = ["grass", "the cat's left ear", "x", "a phrase that is longer than the one that the graph was traced by"]
# logits, over random and trained weights; masks are compared as well
LOGIT_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _use_cache(cache: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "weights" not in request.keywords:
        monkeypatch.setenv("PROMPTSEG_CACHE", str(cache))


def answer(segmenter: Segmenter, image_rgb: np.ndarray, texts: list[str]) -> Prediction:
    size_hw = (image_rgb.shape[0], image_rgb.shape[1])
    return segmenter.segment_texts(segmenter.encode_image(image_rgb), texts, size_hw)


def assert_close(prediction: Prediction, expected: Prediction) -> None:
    torch.testing.assert_close(prediction.mask_logits, expected.mask_logits, atol=LOGIT_TOLERANCE, rtol=0)
    torch.testing.assert_close(prediction.presence, expected.presence, atol=LOGIT_TOLERANCE, rtol=0)
    torch.testing.assert_close(prediction.iou, expected.iou, atol=LOGIT_TOLERANCE, rtol=0)


@pytest.mark.parametrize("name", ["promptseg-test", "promptseg-test-dense", "promptseg-test-vit"])
def test_openvino_gives_what_torch_gives(name: str) -> None:
    network = load_model(name)
    segmenter = build_segmenter(network, "openvino")
    for image_rgb in IMAGES.values():
        for texts in (TEXTS, TEXTS[:1], TEXTS * 5):
            assert_close(answer(segmenter, image_rgb, texts), answer(network, image_rgb, texts))
    assert len(answer(segmenter, CHELSEA, []).presence) == 0


@pytest.mark.slow
def test_detections_lie_where_they_lie_in_torch_whatever_the_shape() -> None:
    config = replace(find_record("promptseg").config, text_tower="bytes-test", refiner=None)
    torch.manual_seed(0)
    network = PromptSeg(config).eval()
    compiled = build_segmenter(network, "openvino")
    for image_rgb in (CHELSEA, CHELSEA[:, :200]):
        given, expected = (one.encode_image(image_rgb)["detections"] for one in (compiled, network))
        # Random weights are sure of nothing, so the order differs: every box is looked for among the others.
        distance = (given[0, :, None, :4] - expected[0, None, :, :4]).abs().amax(dim=2).amin(dim=1)
        assert distance.median() < 1e-3


def test_the_public_flow_takes_the_engine() -> None:
    expected = promptseg.load("promptseg-test", engine="torch").segment(CHELSEA, TEXTS)
    result = promptseg.load("promptseg-test", engine="openvino").segment(CHELSEA, TEXTS)
    for one, other in zip(result, expected, strict=True):
        assert one.presence == pytest.approx(other.presence, abs=LOGIT_TOLERANCE)
        np.testing.assert_allclose(one.probability, other.probability, atol=LOGIT_TOLERANCE)


def test_an_embedding_is_read_by_either_engine() -> None:
    torch_model, compiled = (promptseg.load("promptseg-test", engine=engine) for engine in ("torch", "openvino"))
    embedding = torch_model.encode(CHELSEA)
    np.testing.assert_allclose(
        compiled.segment(embedding, "grass")[0].mask_logits,
        torch_model.segment(embedding, "grass")[0].mask_logits,
        atol=LOGIT_TOLERANCE,
    )


def test_threads_share_a_compiled_model() -> None:
    segmenter = build_segmenter(load_model("promptseg-test"), "openvino")
    expected = {name: answer(segmenter, image_rgb, TEXTS) for name, image_rgb in IMAGES.items()}
    with ThreadPoolExecutor(4) as pool:
        for name, prediction in pool.map(lambda each: (each, answer(segmenter, IMAGES[each], TEXTS)), 4 * [*IMAGES]):
            torch.testing.assert_close(prediction.mask_logits, expected[name].mask_logits)


def test_graphs_are_made_once_for_the_same_weights(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_model("promptseg-test")
    first = answer(build_segmenter(network, "openvino"), CHELSEA, TEXTS)
    monkeypatch.setattr("promptseg.runtime.network_graphs._export", None)  # making them again would fail
    again = answer(build_segmenter(network, "openvino"), CHELSEA, TEXTS)
    torch.testing.assert_close(again.mask_logits, first.mask_logits)


def test_another_process_gets_the_same_maps_from_the_cache(cache: Path, tmp_path: Path) -> None:
    """With CACHE_MODE=OPTIMIZE_SIZE, OpenVINO 2026.4 gave empty maps of a larger model once its cache was read."""
    expected = answer(build_segmenter(load_model("promptseg-test"), "openvino"), CHELSEA, TEXTS)
    assert list(cache.glob("engines/openvino-*/*/*.blob")), "there is something to load"
    script = """
import sys
from safetensors.torch import save_file
from promptseg.runtime import build_segmenter, graph_cache as graphs
from promptseg.images import read_image
from promptseg.models.registry import find_record, load_model

graphs._export = None  # making the graphs again would fail
segmenter = build_segmenter(load_model("promptseg-test"), "openvino")
image_rgb = read_image(sys.argv[1])
prediction = segmenter.segment_texts(segmenter.encode_image(image_rgb), sys.argv[3:], image_rgb.shape[:2])
save_file({name: value for name, value in vars(prediction).items() if value is not None}, sys.argv[2])
"""
    answered = tmp_path / "answer.safetensors"
    subprocess.run([sys.executable, "-c", script, find_photo("chelsea"), answered, *TEXTS], check=True)
    assert_close(Prediction(**load_file(answered)), expected)


def test_other_weights_have_other_graphs(cache: Path) -> None:
    network = load_model("promptseg-test")
    before = answer(build_segmenter(network, "openvino"), CHELSEA, TEXTS)
    with torch.no_grad():
        for parameter in network.neck.parameters():
            parameter.mul_(1.5)
    after = answer(build_segmenter(network, "openvino"), CHELSEA, TEXTS)
    assert not torch.allclose(before.mask_logits, after.mask_logits, atol=LOGIT_TOLERANCE)
    assert_close(after, answer(network, CHELSEA, TEXTS))
    assert len(list((cache / "engines").glob("openvino-*"))) <= NUM_KEPT


def test_auto_is_openvino_on_a_cpu_and_torch_elsewhere() -> None:
    network = load_model("promptseg-test")
    by_torch = build_segmenter(network, "torch")
    assert isinstance(by_torch, PromptSeg) and by_torch.neck is network.neck
    assert isinstance(build_segmenter(network, "auto"), OpenVinoSegmenter)
    elsewhere: PromptSeg = load_model("promptseg-test").to("meta")
    assert isinstance(build_segmenter(elsewhere, "auto"), PromptSeg)


@pytest.mark.parametrize(("capabilities", "engine"), [({"FP32"}, "openvino"), ({"FP32", "BF16"}, "openvino-bf16")])
def test_auto_rounds_where_the_cpu_has_bfloat16(
    capabilities: set[str], engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "cpu_capabilities", lambda: capabilities)
    assert resolve_engine("auto", torch.device("cpu")) == engine
    assert resolve_engine("auto", torch.device("meta")) == "torch"


def test_openvino_names_what_the_cpu_has() -> None:
    assert "FP32" in graphs.cpu_capabilities()


@pytest.mark.parametrize("asked", ["auto", "torch", "openvino", "openvino-bf16"])
def test_a_predictor_says_which_engine_runs(asked: str) -> None:
    engine = resolve_engine(asked, torch.device("cpu"))
    assert promptseg.load("promptseg-test", device="cpu", engine=asked).engine == engine


def test_an_unknown_engine_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EngineError, match=r"tensorrt.*" + ", ".join(ENGINES)):
        promptseg.load("promptseg-test", engine="tensorrt")


def test_openvino_is_refused_off_the_cpu() -> None:
    network: PromptSeg = load_model("promptseg-test").to("meta")
    with pytest.raises(EngineError, match="runs on the CPU, not on meta"):
        build_segmenter(network, "openvino")


def test_a_cache_that_can_not_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a directory")
    monkeypatch.setenv("PROMPTSEG_CACHE", str(tmp_path / "file"))
    with pytest.raises(EngineError, match="PROMPTSEG_CACHE"):
        build_segmenter(load_model("promptseg-test"), "openvino")


@pytest.mark.weights
@pytest.mark.slow
def test_the_default_gives_the_same_masks_on_openvino() -> None:
    network = load_model("promptseg")
    expected = answer(network, CHELSEA, TEXTS)
    assert_close(answer(build_segmenter(network, "openvino"), CHELSEA, TEXTS), expected)
    rounded = answer(build_segmenter(network, "openvino-bf16"), CHELSEA, TEXTS)
    changed = (rounded.mask_logits > 0) != (expected.mask_logits > 0)
    assert changed.float().mean() < 0.02
    torch.testing.assert_close(rounded.presence, expected.presence, atol=0.05, rtol=0)

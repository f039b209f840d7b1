"""The published files themselves: each conversion against the original graph, checkpoint or layout."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

from promptseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD
from promptseg.encoders.yolox import YoloxNano
from promptseg.image_files import bundled_image
from promptseg.weights import find_record, pull, resolve, verify
from promptseg.weights.fetch import fetch_file

pytestmark = pytest.mark.weights

Original = Callable[[str], dict[str, Path]]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """Fetch the files of a record as they were published."""

    def fetch(name: str) -> dict[str, Path]:
        work = tmp_path_factory.mktemp(name)
        return {file.filename: fetch_file(file, file.sources[0], work) for file in find_record(name).files}

    return fetch


def photo_values(name: str, side: int) -> np.ndarray:
    """A bundled photo squashed to a square, shape (side, side, 3), RGB in [0, 1]."""
    with Image.open(bundled_image(name)) as photo:
        squashed = photo.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(squashed, np.float32) / 255


def photo_pixels(
    name: str, side: int, *, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> torch.Tensor:
    """The same normalized, shape (1, 3, side, side)."""
    values = (photo_values(name, side) - np.float32(mean)) / np.float32(std)
    return torch.from_numpy(values.transpose(2, 0, 1)[None].copy())


def session(onnxruntime: ModuleType, path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("name", "num_tensors"),
    [("efficientnet-lite0", 296), ("efficientnet-lite1", 386), ("efficientnet-lite2", 386), ("mobile-sam", 439)],
)
def test_state_dict_is_kept_bit_for_bit(name: str, num_tensors: int, original: Original) -> None:
    ((_, published),) = original(name).items()
    expected = torch.load(published, map_location="cpu", weights_only=True)
    found = load_file(resolve(name))
    assert found.keys() == expected.keys()
    assert len(found) == num_tensors
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert verify(name)


def test_pulling_again_gives_the_same_bytes() -> None:
    before = resolve("sam-decoder").read_bytes()
    assert pull("sam-decoder", force=True).read_bytes() == before


def test_minilm_loads_whole_and_knows_its_words() -> None:
    directory = resolve("minilm-l6")
    tower, report = transformers.BertModel.from_pretrained(directory, output_loading_info=True)
    assert not report["missing_keys"]
    tokenizer = transformers.BertTokenizer.from_pretrained(directory)
    assert tokenizer("a photo of a cat").input_ids == [101, 1037, 6302, 1997, 1037, 4937, 102]

    def embed(text: str) -> torch.Tensor:
        inputs = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            return torch.nn.functional.normalize(tower.eval()(**inputs).last_hidden_state.mean(1), dim=-1)[0]

    assert embed("a cat") @ embed("a kitten") > 0.6 > 0.4 > embed("a cat") @ embed("a truck")


def test_clip_vocabulary_gives_clips_own_tokens() -> None:
    tokenizer = transformers.CLIPTokenizer.from_pretrained(resolve("clip-tokenizer"))
    assert len(tokenizer) == 49408
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_sam_decoder_fills_transformers_sam() -> None:
    tensors = load_file(resolve("sam-decoder"))
    model = transformers.SamModel(transformers.SamConfig())
    wanted = {name: value.shape for name, value in model.state_dict().items() if not name.startswith("vision_encoder.")}
    assert {name: value.shape for name, value in tensors.items()} == wanted


def test_sam_decoder_has_the_values_of_the_checkpoint(original: Original) -> None:
    ((_, published),) = original("sam-decoder").items()
    content = torch.load(published, map_location="cpu", weights_only=True)
    expected = sorted(tensor.double().sum().item() for part in content.values() for tensor in part.values())
    found = load_file(resolve("sam-decoder"))
    del found["shared_image_embedding.positional_embedding"]
    np.testing.assert_array_equal(sorted(tensor.double().sum().item() for tensor in found.values()), expected)


def test_yolox_answers_as_its_graph(original: Original) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    ((_, path),) = original("yolox-nano").items()
    tower = YoloxNano().eval()
    tower.load_weights(resolve("yolox-nano"))
    pixels = photo_pixels("chelsea", 416, mean=tower.mean, std=tower.std)
    colors_bgr = (photo_values("chelsea", 416)[..., ::-1] * 255).transpose(2, 0, 1)[None]
    # Rows of the graph: box, objectness, 80 names; strides 8, 16, 32 one after the other.
    (rows,) = session(onnxruntime, path).run(None, {"images": np.ascontiguousarray(colors_bgr)})
    with torch.no_grad():
        scores = torch.cat([level[:, 64 : 64 + 80].flatten(2) ** 2 for level in tower(pixels)], dim=2)
    np.testing.assert_allclose(scores[0].T.numpy(), rows[0, :, 4:5] * rows[0, :, 5:], atol=1e-4)
    assert rows[0, :, 4].max() > 0.5, "there is a cat in it"


@pytest.mark.slow
def test_sam2_answers_as_its_graphs(original: Original) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    files = original("sam2-hiera-tiny")
    pixels = photo_pixels("astronaut", 1024)
    encoder = session(onnxruntime, files["encoder.ort"])
    names = [output.name for output in encoder.get_outputs()]
    features = dict(zip(names, encoder.run(None, {"image": pixels.numpy()}), strict=True))
    decoder = session(onnxruntime, files["decoder.onnx"])

    directory = resolve("sam2-hiera-tiny")
    model, report = transformers.Sam2Model.from_pretrained(directory, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with torch.no_grad():
        embeddings = model.eval().get_image_embeddings(pixels)
        for name, embedding in zip(("high_res_feats_0", "high_res_feats_1", "image_embed"), embeddings, strict=True):
            np.testing.assert_allclose(embedding.numpy(), features[name], atol=1e-4)
        # A click on the suit, and a box around the head; the graph marks the corners of a box by labels 2 and 3.
        prompts = (
            (
                [[440.0, 700.0]],
                [1],
                {
                    "input_points": torch.tensor([[[[440.0, 700.0]]]]),
                    "input_labels": torch.ones(1, 1, 1, dtype=torch.long),
                },
            ),
            ([[300.0, 50.0], [620.0, 420.0]], [2, 3], {"input_boxes": torch.tensor([[[300.0, 50.0, 620.0, 420.0]]])}),
        )
        for points, labels, inputs in prompts:
            prompt = {
                "point_coords": np.float32([points]),
                "point_labels": np.float32([labels]),
                "mask_input": np.zeros((1, 1, 256, 256), np.float32),
                "has_mask_input": np.zeros(1, np.float32),
            }
            masks, scores = decoder.run(None, features | prompt)
            answer = model(image_embeddings=embeddings, **inputs, multimask_output=True)
            # The graph clips its logits to +-32.
            np.testing.assert_allclose(answer.pred_masks[0, 0].clamp(-32, 32).numpy(), masks[0], atol=1e-4)
            np.testing.assert_allclose(answer.iou_scores[0, 0].numpy(), scores[0], atol=1e-4)
            assert np.array_equal(answer.pred_masks[0, 0].numpy() > 0, masks[0] > 0)


def test_dinov2_answers_as_its_graph(original: Original, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    ((_, path),) = original("dinov2-small-saliency").items()
    # The tower's own output is inside the graph: make it an output of the whole.
    model = onnx.load(str(path))
    (last_norm,) = [node.output[0] for node in model.graph.node if node.name.startswith("/backbone/layernorm/")][-1:]
    model.graph.output.append(onnx.helper.make_tensor_value_info(last_norm, onnx.TensorProto.FLOAT, None))
    onnx.save(model, tmp_path / "tower.onnx")

    tower, report = transformers.Dinov2Model.from_pretrained(resolve("dinov2-small-saliency"), output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    pixels = photo_pixels("chelsea", 224)
    (expected,) = session(onnxruntime, tmp_path / "tower.onnx").run([last_norm], {"input_image": pixels.numpy()})
    with torch.no_grad():
        np.testing.assert_allclose(tower.eval()(pixels).last_hidden_state.numpy(), expected, atol=1e-4)

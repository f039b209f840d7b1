"""YOLO-World v2: the published layout is read without running it, norms fold away, phrases come from tables."""

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from promptseg.detectors.base import Thresholds
from promptseg.detectors.name_vectors import NameTable, PhraseVectors, load_name_table
from promptseg.detectors.yolo_world import YoloWorld, load_yolo_world, read_layout
from promptseg.detectors.yolo_world_net import GuidedStage, Layout, YoloWorldNet
from promptseg.encoders.clip_text import ClipText
from promptseg.encoders.yolox import Conv
from promptseg.errors import CheckpointError, DataError, WeightsError
from promptseg.weights.convert.name_tables import clean_name, convert_name_tables
from promptseg.weights.convert.yolo_world import NAME_VECTORS, convert_yolo_world, read_yolo_world

CPU = "cpu"
TINY = Layout((8, 16, 64, 64, 64), 1)
NAMES = ["cat", "traffic light", "dog"]

# From our names back to the published ones.
PUBLISHED = (
    (r"^heads\.(\d)\.boxes\.", r"model.22.cv2.\1."),
    (r"^heads\.(\d)\.embeddings\.", r"model.22.cv3.\1."),
    (r"^heads\.(\d)\.log_scale$", r"model.22.cv4.\1.logit_scale"),
    (r"^heads\.(\d)\.bias$", r"model.22.cv4.\1.bias"),
    (r"^layers\.9\.narrow\.", "model.9.cv1."),
    (r"^layers\.9\.join\.", "model.9.cv2."),
    (r"^layers\.", "model."),
    (r"\.blocks\.(\d+)\.first\.", r".m.\1.cv1."),
    (r"\.blocks\.(\d+)\.second\.", r".m.\1.cv2."),
    (r"\.enter\.", ".cv1."),
    (r"\.leave\.", ".cv2."),
    (r"\.guide_text\.", ".attn.gl."),
    (r"\.guide_bias$", ".attn.bias"),
    (r"\.guided\.", ".attn.proj_conv."),
)
# The last layer of each branch has no norm of its own.
PLAIN = re.compile(r"^model\.22\.cv[23]\.\d\.2\.|\.gl\.|\.cv4\.|attn\.bias$")


class Published(nn.Module):
    """A module whose parts are made by name, as the classes of the published file are not at hand."""


def place(root: nn.Module, name: str, value: Tensor, *, is_buffer: bool = False) -> None:
    *path, last = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, Published())
        root = root._modules[part]
    if is_buffer:
        root.register_buffer(last, value)
    else:
        root.register_parameter(last, nn.Parameter(value))


def published_name(name: str) -> str:
    for pattern, theirs in PUBLISHED:
        name = re.sub(pattern, theirs, name)
    return name


def write_published(path: Path) -> nn.Module:
    """Write a checkpoint of the published layout, with norms that are not folded; gives its network."""
    torch.manual_seed(0)
    root = Published()
    for name, value in YoloWorldNet(TINY).state_dict().items():
        theirs = published_name(name)
        if PLAIN.search(theirs):
            place(root, theirs, torch.randn_like(value) * 0.1)
        elif theirs.endswith(".weight"):
            stem = theirs.removesuffix(".weight")
            place(root, f"{stem}.conv.weight", torch.randn_like(value) * 0.1)
            write_norm(root, f"{stem}.bn", value.shape[0])
    for level in range(3):
        write_norm(root, f"model.22.cv4.{level}.norm", 512)
    place(root, "model.22.dfl.conv.weight", torch.arange(16.0).reshape(1, 16, 1, 1))
    root.names = dict(enumerate(NAMES))
    root.txt_feats = torch.randn(1, len(NAMES), 512).half()
    torch.save({"model": root.half(), "date": "2024"}, path)
    return root


def write_norm(root: nn.Module, name: str, num_channels: int) -> None:
    place(root, f"{name}.weight", torch.rand(num_channels) + 0.5)
    place(root, f"{name}.bias", torch.randn(num_channels))
    place(root, f"{name}.running_mean", torch.randn(num_channels), is_buffer=True)
    place(root, f"{name}.running_var", torch.rand(num_channels) + 0.5, is_buffer=True)
    place(root, f"{name}.num_batches_tracked", torch.tensor(7), is_buffer=True)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path = tmp_path_factory.mktemp("yolo") / "tiny-worldv2.pt"
    return path, write_published(path)


@pytest.fixture(scope="module")
def detector(checkpoint: tuple[Path, nn.Module]) -> YoloWorld:
    loaded = load_yolo_world(checkpoint[0], CPU)
    assert loaded.input_side == 640
    return YoloWorld(loaded.network, loaded.phrases, input_side=128)


def image(height: int = 40, width: int = 60) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


class TestReading:
    def test_the_published_layout_fits(self, checkpoint: tuple[Path, nn.Module]) -> None:
        tensors, names = read_yolo_world(checkpoint[0])
        assert names == NAMES
        torch.testing.assert_close(tensors.pop(NAME_VECTORS).norm(dim=1), torch.ones(3))
        assert read_layout(tensors) == TINY
        YoloWorldNet(TINY).load_state_dict(tensors, strict=True)

    def test_norms_are_folded(self, checkpoint: tuple[Path, nn.Module]) -> None:
        path, root = checkpoint
        tensors, _ = read_yolo_world(path)
        held = {name: value.float() for name, value in root.state_dict().items()}
        x = torch.randn(1, 3, 8, 8)
        expected = nn.functional.batch_norm(
            nn.functional.conv2d(x, held["model.0.conv.weight"]),
            held["model.0.bn.running_mean"], held["model.0.bn.running_var"],
            held["model.0.bn.weight"], held["model.0.bn.bias"], eps=1e-3,
        )  # fmt: skip
        found = nn.functional.conv2d(x, tensors["layers.0.weight"], tensors["layers.0.bias"])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        last = "model.22.cv3.1.2"
        y = torch.randn(1, held[f"{last}.weight"].shape[1], 4, 4)
        expected = nn.functional.batch_norm(
            nn.functional.conv2d(y, held[f"{last}.weight"], held[f"{last}.bias"]),
            *(held[f"model.22.cv4.1.norm.{part}"] for part in ("running_mean", "running_var", "weight", "bias")),
            eps=1e-3,
        )  # fmt: skip
        folded = "heads.1.embeddings.2"
        found = nn.functional.conv2d(y, tensors[f"{folded}.weight"], tensors[f"{folded}.bias"])
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

    def test_what_a_pickle_orders_is_not_done(self, tmp_path: Path) -> None:
        class Order:
            def __reduce__(self) -> tuple[object, tuple[str]]:
                return os.mkdir, (str(tmp_path / "done"),)

        torch.save({"model": Order()}, tmp_path / "evil.pt")
        with pytest.raises(WeightsError, match=r"evil\.pt: not a YOLO-World v2"):
            read_yolo_world(tmp_path / "evil.pt")
        assert not (tmp_path / "done").exists()

    @pytest.mark.parametrize(
        ("content", "message"),
        [(b"no checkpoint", "can't be read as a checkpoint"), ({"weights": 1}, "holds no network under 'model'")],
    )
    def test_other_files_are_refused(self, content: object, message: str, tmp_path: Path) -> None:
        path = tmp_path / "other.pt"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(WeightsError, match=message):
            read_yolo_world(path)

    def test_a_network_of_another_size_is_refused(self, checkpoint: tuple[Path, nn.Module], tmp_path: Path) -> None:
        convert_yolo_world({"tiny.pt": checkpoint[0]}, tmp_path)
        tensors = load_file(tmp_path / "model.safetensors")
        save_file({k: v for k, v in tensors.items() if not k.startswith("layers.21.")}, tmp_path / "model.safetensors")
        with pytest.raises(CheckpointError, match="not a YOLO-World v2 of a known size"):
            load_yolo_world(tmp_path, CPU)

    @pytest.mark.parametrize(
        ("widths", "depth", "published"),
        [
            ((32, 64, 128, 256, 512), 1, 12_759_880),
            ((48, 96, 192, 384, 576), 2, 28_376_158),
            ((64, 128, 256, 512, 512), 3, 46_832_050),
        ],
    )
    def test_sizes_are_the_published_ones(
        self, widths: tuple[int, int, int, int, int], depth: int, published: int
    ) -> None:
        """The published count has two numbers a normed channel where a bias is left, three norms more, and 16 steps."""
        with torch.device("meta"):
            network = YoloWorldNet(Layout(widths, depth))
        normed = [module for module in network.modules() if isinstance(module, Conv)]
        normed += [module.guided for module in network.modules() if isinstance(module, GuidedStage)]
        ours = sum(value.numel() for value in network.parameters())
        assert ours + sum(module.out_channels for module in normed) + 3 * 2 * 512 + 16 == published


class TestDetecting:
    def test_boxes_lie_in_the_image_and_have_one_phrase_each(self, detector: YoloWorld) -> None:
        encoded = detector.encode_image(image())
        assert encoded.maps[0].shape == (1, 64, 12, 16)
        found = detector.detect(encoded, ["dog", "Traffic_Light"], Thresholds(0.0))
        assert 0 < len(found.scores) and set(found.phrase_index.tolist()) <= {0, 1} and found.peaks.shape == (2,)
        assert (found.boxes_xyxy <= [60.0, 40, 60, 40]).all()
        assert found.scores.max() == pytest.approx(found.peaks.max().item())
        assert len(detector.detect(encoded, ["cat"], Thresholds(1.0)).scores) == 0

    def test_arrays_make_the_image_again(self, detector: YoloWorld) -> None:
        encoded = detector.encode_image(image())
        again = detector.restore_image(encoded.to_arrays(), image())
        expected, found = (detector.detect(each, NAMES, Thresholds(0.0)) for each in (encoded, again))
        np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)
        with pytest.raises(DataError, match=r"detector\.stride8 is missing"):
            detector.restore_image({}, image())

    def test_a_box_is_where_its_cell_says(self) -> None:
        """Bins that all say 3 steps: the cell at (2, 1) of stride 16 has a box of 96 pixels round its center."""
        head = YoloWorldNet(TINY).heads[1]
        nn.init.zeros_(head.boxes[2].weight)
        bins = torch.full((4, 16), -50.0)
        bins[:, 3] = 50.0
        head.boxes[2].bias.data = bins.flatten()
        boxes, logits = head(torch.zeros(1, 64, 2, 3), nn.functional.normalize(torch.randn(5, 512), dim=1), 16)
        assert boxes.shape == (1, 6, 4) and logits.shape == (1, 6, 5)
        torch.testing.assert_close(boxes[0, 5], torch.tensor([40.0 - 48, 24 - 48, 40 + 48, 24 + 48]))

    def test_converted_and_published_files_give_the_same(
        self, detector: YoloWorld, checkpoint: tuple[Path, nn.Module], tmp_path: Path
    ) -> None:
        convert_yolo_world({"tiny.pt": checkpoint[0]}, tmp_path)
        loaded = load_yolo_world(tmp_path, CPU)
        encoded = detector.encode_image(image())
        expected, found = (one.detect(encoded, NAMES, Thresholds(0.0)) for one in (detector, loaded))
        np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, rtol=1e-5)

    def test_the_license_is_said(self, checkpoint: tuple[Path, nn.Module], caplog: pytest.LogCaptureFixture) -> None:
        load_yolo_world(checkpoint[0], CPU)
        assert "AGPL-3.0" in caplog.text


class TestPhrases:
    def test_tables_are_asked_in_order(self) -> None:
        first, second = torch.eye(512)[:1], torch.eye(512)[1:3] * 7
        phrases = PhraseVectors([NameTable(("cat",), first), NameTable(("cat", "street_sign_(metal)"), second)])
        assert phrases.embed(["street sign", "CAT"]).argmax(1).tolist() == [2, 0]
        torch.testing.assert_close(phrases.embed(["Street Sign"]).norm(dim=1), torch.ones(1))

    def test_an_unknown_phrase_says_what_to_pull(self, detector: YoloWorld) -> None:
        encoded = detector.encode_image(image())
        with pytest.raises(
            WeightsError, match=r"no vector for 'a red mug': .* only 3 names are known; .* weights pull"
        ):
            detector.detect(encoded, ["cat", "a red mug"])

    def test_the_tower_reads_what_no_table_knows(self) -> None:
        class Letters(ClipText):
            def __init__(self) -> None:
                nn.Module.__init__(self)

            def tokenize(self, texts):  # type: ignore[no-untyped-def]
                return torch.tensor([[len(text) for text in texts]]), torch.ones(1, 1, dtype=torch.bool)

            def forward(self, token_ids, token_mask):  # type: ignore[no-untyped-def]
                return SimpleNamespace(pooled=torch.eye(512)[token_ids[:, 0]])

        phrases = PhraseVectors([NameTable(("cat",), torch.eye(512)[:1])], Letters())
        assert phrases.embed(["cat", "a mug"]).argmax(1).tolist() == [0, 5]

    @pytest.mark.parametrize(
        ("name", "expected"),
        [("trash_can", "trash can"), ("bat_(animal)", "bat"), ("Cabinet/shelf", "cabinet shelf"), (" TV ", "tv")],
    )
    def test_names_are_written_as_people_say_them(self, name: str, expected: str) -> None:
        assert clean_name(name) == expected

    def test_tables_are_joined(self, tmp_path: Path) -> None:
        (tmp_path / "lvis.json").write_text(json.dumps([{"id": 2, "name": "bat_(animal)"}, {"id": 1, "name": "cat"}]))
        (tmp_path / "objects365.csv").write_text("1,Cat\n2,Street Lights\n")
        np.save(tmp_path / "lvis.npy", np.eye(2, 512, dtype=np.float16))
        np.save(tmp_path / "objects365.npy", np.eye(4, 512, dtype=np.float16)[2:])
        files = {name: tmp_path / name for name in ("lvis.json", "lvis.npy", "objects365.csv", "objects365.npy")}
        target = tmp_path / "made"
        target.mkdir()
        convert_name_tables(files, target)
        table = load_name_table(target)
        assert table.names == ("cat", "bat", "street lights")
        assert table.vectors.argmax(1).tolist() == [0, 1, 3]
        np.save(tmp_path / "lvis.npy", np.eye(3, 512))
        with pytest.raises(WeightsError, match="lvis: 2 names but 3 vectors"):
            convert_name_tables(files, target)

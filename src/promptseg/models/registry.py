"""The models that have a name."""

import difflib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal

import torch

from promptseg.encoders.towers import build_image_tower, build_text_tower, load_tower
from promptseg.errors import CheckpointError, UnknownModelError
from promptseg.models.checkpoint import load_pretrained
from promptseg.models.config import DenseConfig, LoraConfig, PromptSegConfig
from promptseg.models.promptseg import PromptSeg
from promptseg.weights import ReportProgress


@dataclass(frozen=True)
class ModelRecord:
    """One row of the table.

    Attributes:
        name: What `promptseg.load` takes.
        config: Architecture; a shipped checkpoint brings its own.
        status: "shipped": trained weights are inside the package. "recipe": train it yourself. "test": tiny and random.
        num_trained: Trained parameters, exact.
        licence: Of the trained weights, or of the code where there are none.
        paper: Where the architecture is from.
        summary: One line.
        prompt_kinds: Kinds of prompt that it takes.
    """

    name: str
    config: PromptSegConfig
    status: Literal["shipped", "recipe", "test"]
    num_trained: int
    licence: str
    paper: str
    summary: str
    prompt_kinds: frozenset[str] = frozenset({"text"})


PROMPTSEG_PAPER = "halim-cv/PromptSeg-Lightweight (MIT); decoder: arXiv:2304.02643"


def _s1(size: str, image_layers: tuple[int, ...]) -> PromptSegConfig:
    """The published configuration, on DINOv2 of one size."""
    return PromptSegConfig(
        image_tower=f"dinov2-{size}",
        image_layers=image_layers,
        text_tower="clip-vit-base-patch16",
        image_size=224,
    )


_ROWS = (
    ModelRecord(
        name="promptseg",
        config=PromptSegConfig(
            image_tower="efficientnet-lite2+yolox-nano",
            image_layers=(8, 16, 32, "head"),
            text_tower="minilm-l6",
            image_size=512,
            resize="aspect",
            decoder_depth=0,
            fine_stride=8,
            dense=DenseConfig(embedding_dim=192, peak_margin=2.75),
            train_towers="image",
        ),
        status="shipped",
        num_trained=8_465_270,
        licence="Apache-2.0",
        paper="arXiv:2201.03546 (pixels against texts); arXiv:1905.11946, arXiv:2107.08430 (towers)",
        summary="The default: EfficientNet-Lite2, YOLOX-Nano and MiniLM; works offline on a laptop",
    ),
    ModelRecord(
        name="promptseg-s1",
        config=_s1("base", (3, 6, 9, 11)),
        status="recipe",
        num_trained=9_222_786,
        licence="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="The published PromptSeg: DINOv2-base, CLIP ViT-B/16 text, 224 px",
    ),
    ModelRecord(
        name="promptseg-s1-s",
        config=_s1("small", (3, 6, 9, 11)),
        status="recipe",
        num_trained=8_829_570,
        licence="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="PromptSeg on DINOv2-small",
    ),
    ModelRecord(
        name="promptseg-s1-l",
        config=_s1("large", (7, 13, 19, 23)),
        status="recipe",
        num_trained=9_484_930,
        licence="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="PromptSeg on DINOv2-large",
    ),
    ModelRecord(
        name="promptseg-test",
        config=PromptSegConfig(
            image_tower="conv-test",
            image_layers=(4, 8, 16, 32),
            text_tower="bytes-test",
            image_size=96,
            resize="aspect",
            dim=32,
            num_heads=4,
            mlp_dim=64,
            decoder_depth=2,
            fine_stride=4,
            fine_dim=16,
            dense=DenseConfig(embedding_dim=16, hidden_dim=24, vocabulary=("grass", "sky", "cat", "wall")),
        ),
        status="test",
        num_trained=78_297,
        licence="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="For tests: tiny and random; decoder and dense head on a pyramid",
    ),
    ModelRecord(
        name="promptseg-test-dense",
        config=PromptSegConfig(
            image_tower="conv-test",
            image_layers=(8, 16, 32),
            text_tower="bytes-test",
            image_size=96,
            dim=32,
            decoder_depth=0,
            fine_stride=8,
            fine_dim=16,
            dense=DenseConfig(embedding_dim=16, hidden_dim=24),
            train_towers="image",
        ),
        status="test",
        num_trained=58_895,
        licence="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="For tests: tiny and random; dense head alone, image tower trained",
    ),
    ModelRecord(
        name="promptseg-test-vit",
        config=PromptSegConfig(
            image_tower="dinov2-test",
            image_layers=(1, 3),
            text_tower="bytes-test",
            text_mode="tokens",
            image_size=112,
            dim=32,
            num_heads=4,
            mlp_dim=64,
            decoder_depth=3,
            lora=LoraConfig(rank=2, alpha=4, image_layers=(2, 3), text_layers=(0,)),
        ),
        status="test",
        num_trained=81_170,
        licence="Apache-2.0",
        paper=PROMPTSEG_PAPER,
        summary="For tests: tiny and random; token-level text and adapters on a vision transformer",
    ),
)

MODELS: dict[str, ModelRecord] = {row.name: row for row in _ROWS}


def find_record(name: str) -> ModelRecord:
    """Look a model up by its name.

    Raises:
        UnknownModelError: no model of that name; the message has the near ones.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, MODELS, n=3, cutoff=0.4) or sorted(MODELS)
        raise UnknownModelError(f"no model is named {name!r}; near ones: {', '.join(near)}")
    return MODELS[name]


def build_model(config: PromptSegConfig, *, pretrained: bool = False, offline: bool = False) -> PromptSeg:
    """Build an untrained model.

    Args:
        config: Architecture.
        pretrained: Read the towers' published weights, fetching them the first time; otherwise towers are random.
        offline: Don't use the network.

    Raises:
        UnknownModelError: the config names a tower that does not exist.
        WeightsError: a tower's weights can't be fetched, or don't fit.
    """
    image_tower = build_image_tower(config.image_tower, config.image_layers)
    text_tower = build_text_tower(config.text_tower)
    if pretrained:
        load_tower(image_tower, config.image_tower, offline=offline)
        load_tower(text_tower, config.text_tower, offline=offline)
    return PromptSeg(config, image_tower, text_tower)


def get_model(name: str, *, pretrained: bool = False, offline: bool = False) -> PromptSeg:
    """Build the untrained model of a row; arguments and errors as `find_record` and `build_model`."""
    return build_model(find_record(name).config, pretrained=pretrained, offline=offline)


def load_model(name_or_dir: str | Path, *, offline: bool = False, progress: ReportProgress | None = None) -> PromptSeg:
    """Load a trained model, ready for inference.

    Args:
        name_or_dir: A shipped row, a test row (random weights, always the same), or a checkpoint's directory.
        offline: Don't use the network.
        progress: Told (name, bytes here, bytes in all) while towers' weights are fetched.

    Raises:
        UnknownModelError: neither a row nor a directory.
        CheckpointError: the row has no trained weights, or the checkpoint does not fit.
        WeightsError: a tower's weights can't be fetched.
    """
    if str(name_or_dir) not in MODELS and Path(name_or_dir).exists():
        return load_pretrained(Path(name_or_dir), offline=offline, progress=progress).eval()
    record = find_record(str(name_or_dir))
    if record.status == "shipped":
        with resources.as_file(resources.files("promptseg") / "checkpoints" / record.name) as directory:
            return load_pretrained(directory, offline=offline, progress=progress).eval()
    if record.status == "test":
        with torch.random.fork_rng(devices=()):
            torch.manual_seed(0)
            model = get_model(record.name).eval()
        model.set_vocabulary()
        return model
    raise CheckpointError(f"{record.name} has no trained weights: train it with recipes/, then load its directory")

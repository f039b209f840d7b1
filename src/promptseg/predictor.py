"""The one flow: encode an image once, then segment it by as many requests as come."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from promptseg.embedding import Embedding
from promptseg.errors import CheckpointError, EngineError, PromptError, UnsupportedPromptError
from promptseg.images import DEFAULT_LIMITS, LARGEST_LIMITS, ImageLimits, ImageSource, read_image
from promptseg.models.build import Network
from promptseg.models.checkpoint import save_pretrained
from promptseg.models.grounded_sam.build import load_langsam
from promptseg.models.grounded_sam.config import LangSam, LangSamConfig
from promptseg.models.interactive.config import MaskerConfig, MaskerModel
from promptseg.models.interactive.segmenter import load_promptable
from promptseg.models.promptseg.pipeline import RefinedSegmenter, load_refiner
from promptseg.models.registry import MODELS, load_model
from promptseg.models.tiled import TiledSegmenter
from promptseg.ops.windows import Tiles
from promptseg.prompts import Query, QueryLike, to_queries
from promptseg.results import QueryResult, Segmentation, name_origin
from promptseg.runtime import build_segmenter, resolve_engine
from promptseg.sam.geometric_prompts import POINTING_KINDS
from promptseg.segmenter import Prediction, Proposer, Segmenter
from promptseg.weights import ReportProgress

DEFAULT_MODEL = "promptseg"


def load(
    name_or_dir: str | Path | LangSamConfig | None = None,
    *,
    device: str = "auto",
    engine: str = "auto",
    offline: bool = False,
    threshold: float | None = None,
    progress: ReportProgress | None = None,
) -> "Predictor":
    """Load a model that is ready to segment; what it needs is fetched the first time.

    Args:
        name_or_dir: A name that `promptseg models` lists, or a directory that `save_pretrained` wrote, or
            transformers from a CLIPSeg, or a file of the original CLIPSeg's decoder, or the parts of a LangSAM;
            None: the default.
        device: "cpu", "cuda", "cuda:1", "mps"; "auto" takes a GPU where there is one.
        engine: What computes: "torch", "openvino" or "openvino-bf16", see `engines.build_segmenter`; "auto" takes
            OpenVINO on a CPU, in bfloat16 where the CPU has it, else PyTorch. With either of OpenVINO's, a model's
            refiner rounds to bfloat16.
        offline: Fetch nothing.
        threshold: Presence below which a thing counts as absent, in [0, 1]; None: the model's own, stated one.
        progress: Told (name, bytes here, bytes in all) while weights are fetched; `weights.progress_bar` shows it.

    Raises:
        UnknownModelError: There is neither a model nor a directory of that name.
        CheckpointError: The directory holds no checkpoint, or one that does not fit.
        WeightsError: Pretrained weights can't be fetched, or `offline` forbids it.
        EngineError: The device or the engine is not to be had here.
        PromptError: The threshold is no probability.
    """
    if isinstance(name_or_dir, LangSamConfig):
        return _load_langsam(name_or_dir.architecture, name_or_dir, device, engine, offline, threshold, progress)
    record = MODELS.get(str(name_or_dir))
    if record is not None and isinstance(record.config, LangSamConfig):
        return _load_langsam(record.name, record.config, device, engine, offline, threshold, progress)
    if record is not None and isinstance(record.config, MaskerConfig):
        if device not in ("auto", "cpu"):
            raise EngineError(f"{record.name} runs on the CPU, not on {device}: use device cpu")
        engine = resolve_engine(engine, torch.device("cpu"))
        promptable = load_promptable(record.config, engine=engine, offline=offline, progress=progress)
        presence_threshold = _checked_threshold(threshold, promptable.presence_threshold)
        return Predictor(record.name, MaskerModel(record.config), promptable, presence_threshold, engine)
    model = load_model(name_or_dir or DEFAULT_MODEL, offline=offline, progress=progress)
    name = DEFAULT_MODEL if name_or_dir is None else Path(name_or_dir).name
    presence_threshold = _checked_threshold(threshold, model.presence_threshold)
    placed = model.to(resolve_device(device))
    engine = resolve_engine(engine, placed.device)
    segmenter: Segmenter = build_segmenter(placed, engine)
    if model.config.refiner is not None:
        compiled = engine != "torch"
        refiner = load_refiner(model.config.refiner, compiled=compiled, offline=offline, progress=progress)
        segmenter = RefinedSegmenter(segmenter, refiner, model.image_tower.detected_names)
        engine = f"{engine} + {model.config.refiner}"
    return Predictor(name, placed, segmenter, presence_threshold, engine)


def _load_langsam(
    name: str,
    config: LangSamConfig,
    device: str,
    engine: str,
    offline: bool,
    threshold: float | None,
    progress: ReportProgress | None,
) -> "Predictor":
    model = LangSam(config, resolve_device(device))
    segmenter = load_langsam(config, device=model.device, engine=engine, offline=offline, progress=progress)
    presence_threshold = _checked_threshold(threshold, segmenter.presence_threshold)
    resolved = resolve_engine(engine, model.device)
    return Predictor(name, model, segmenter, presence_threshold, f"{resolved} + {config.masker}")


def resolve_device(device: str) -> torch.device:
    """Find the device that is meant.

    Args:
        device: As torch writes it, or "auto": CUDA, else MPS, else the CPU.

    Raises:
        EngineError: There is no such device here.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise EngineError(f"{device!r} is no device; use auto, cpu, cuda, cuda:1 or mps") from error
    num_devices = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (found.index or 0) >= num_devices.get(found.type, 0):
        raise EngineError(f"there is no device {device!r} here; use auto or cpu")
    return found


@dataclass(frozen=True, eq=False)
class Predictor:
    """A loaded model. It never changes, so threads may share it.

    Attributes:
        name: Its name, or that of the directory it is from.
        model: The network, as trained.
        segmenter: What computes: the network itself, or an engine that runs it.
        presence_threshold: Presence below which a thing counts as absent.
        engine: What "auto" came to, and the refiner where there is one: "torch", "openvino + mobile-sam", ...
        limits: Images beyond them are refused.
        tiles: How images are cut; None: they are not.
    """

    name: str
    model: Network | MaskerModel | LangSam
    segmenter: Segmenter
    presence_threshold: float
    engine: str
    limits: ImageLimits = DEFAULT_LIMITS
    tiles: Tiles | None = None

    @property
    def prompt_kinds(self) -> frozenset[str]:
        """Kinds of prompt that the model takes, such as "text"."""
        return self.segmenter.prompt_kinds

    @cached_property
    def fingerprint(self) -> str:
        """Tells this checkpoint from others: a hash of the config and of every trained weight."""
        digest = hashlib.sha256(json.dumps(self.model.config.to_dict(), sort_keys=True).encode())
        state = self.model.state_dict()
        for name in sorted(self.model.trained_names()):
            digest.update(name.encode())
            digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
        if self.tiles is not None:  # another embedding, which only the same tiles can read
            digest.update(repr(self.tiles).encode())
        return digest.hexdigest()[:16]

    @property
    def origin(self) -> str:
        """Say who answers, for a data set that is to hold the answers of one: the checkpoint and its threshold."""
        return name_origin(self.name, self.fingerprint, self.presence_threshold)

    def tiled(
        self, side: int = 1024, *, overlap: int | None = None, limits: ImageLimits = LARGEST_LIMITS
    ) -> "Predictor":
        """Give a predictor for large images that shares this one's network.

        It looks at the whole image and at overlapping tiles, see `TiledSegmenter`; so it finds what is too small in
        the whole, in the time that so many images take. What fits in one tile gets the same answer as without.

        Args:
            side: Of a tile, pixels, at least 64.
            overlap: Pixels that neighbors share at least; None: a quarter of the side.
            limits: Images beyond them are refused.

        Raises:
            PromptError: A number is out of its range, or this predictor has tiles already.
        """
        if self.tiles is not None:
            raise PromptError(f"{self.name} looks at images in tiles already: use it as it is")
        tiles = Tiles(side, side // 4 if overlap is None else overlap)
        return replace(self, segmenter=TiledSegmenter(self.segmenter, tiles), limits=limits, tiles=tiles)

    def encode(self, image: ImageSource) -> Embedding:
        """Encode an image, once for all requests.

        Args:
            image: A file's path, its bytes, a Pillow image, or a uint8 RGB array of shape (H, W, 3).

        Raises:
            ImageError: The image can't be read; the message names it.
        """
        image_rgb = read_image(image, limits=self.limits)
        return Embedding(self.name, self.fingerprint, image_rgb, self.segmenter.encode_image(image_rgb))

    def segment(
        self,
        image: Embedding | ImageSource,
        queries: QueryLike | Iterable[QueryLike],
        *,
        threshold: float | None = None,
    ) -> Segmentation:
        """Find things in an image.

        Args:
            image: What `encode` returned, or an image of any kind that it takes.
            queries: Phrases, prompts and queries, 1 to 1,000.
            threshold: Presence below which a thing counts as absent, in [0, 1]; None: the predictor's own.

        Returns:
            One result for each query, in order, whatever is found.

        Raises:
            ImageError: The image can't be read.
            PromptError: The request is malformed, or the threshold no probability.
            UnsupportedPromptError: The model does not take this kind of prompt.
            CheckpointError: The embedding is of another model, or the model's numbers are not finite.
        """
        requested = to_queries(queries)
        for query in requested:
            self._check_kinds(query)
        presence_threshold = _checked_threshold(threshold, self.presence_threshold)
        embedding = image if isinstance(image, Embedding) else self.encode(image)
        embedding.check_made_by(self.name, self.fingerprint)
        prediction = self.segmenter.segment(dict(embedding.features), requested, embedding.size_hw)
        labels = [query.label for query in requested]
        results = self._to_results(prediction, labels, embedding, presence_threshold)
        return Segmentation(
            image_rgb=embedding.image_rgb,
            results=results,
            model=self.name,
            presence_threshold=presence_threshold,
            mask_threshold=self.segmenter.mask_threshold,
            fingerprint=self.fingerprint,
        )

    def propose(self, image: Embedding | ImageSource, query: QueryLike) -> tuple[QueryResult, ...]:
        """Give all that points, a box or a mask may mean, for a person to choose from.

        Args:
            image: What `encode` returned, or an image of any kind that it takes.
            query: Points, a box and masks of one object; `QueryResult.as_prompt` gives the one that was chosen back.

        Returns:
            Three candidates, such as a part, the whole and a group, best first; `instances[0].score` says how good the
            model thinks each is.

        Raises:
            ImageError: The image can't be read.
            PromptError: The query points at several objects or at none, or outside the image.
            UnsupportedPromptError: The model has no candidates, or does not take this kind of prompt.
            CheckpointError: The embedding is of another model, or the model's numbers are not finite.
        """
        (asked,) = to_queries([query])
        self._check_kinds(asked)
        kinds = {prompt.kind for prompt in asked.prompts}
        if not (kinds <= POINTING_KINDS and isinstance(self.segmenter, Proposer)):
            raise UnsupportedPromptError(
                f"{self.name} has no candidates for {' and '.join(sorted(kinds))} (query {asked.label!r}): "
                "they are for points, boxes and masks alone, of a model that takes these"
            )
        embedding = image if isinstance(image, Embedding) else self.encode(image)
        embedding.check_made_by(self.name, self.fingerprint)
        prediction = self.segmenter.propose(dict(embedding.features), asked, embedding.size_hw)
        return self._to_results(prediction, [asked.label] * len(prediction.iou), embedding, self.presence_threshold)

    def _to_results(
        self, prediction: Prediction, labels: Sequence[str], embedding: Embedding, presence_threshold: float
    ) -> tuple[QueryResult, ...]:
        if not (torch.isfinite(prediction.mask_logits).all() and torch.isfinite(prediction.presence).all()):
            raise CheckpointError(f"{self.name} computed numbers that are not finite: its weights are damaged")
        return tuple(
            QueryResult(
                label=label,
                presence=presence,
                mask_logits=mask_logits,
                size_hw=embedding.size_hw,
                presence_threshold=presence_threshold,
                mask_threshold=self.segmenter.mask_threshold,
                found=found,
            )
            for label, presence, mask_logits, found in zip(
                labels,
                prediction.presence.tolist(),
                prediction.mask_logits.float().cpu().numpy(),
                prediction.instances or (None,) * len(labels),
                strict=True,
            )
        )

    def save_pretrained(self, directory: str | Path) -> None:
        """Write config.json and model.safetensors, which `load(directory)` reads.

        The checkpoint holds what was trained, and names the towers it needs without their bytes.

        Raises:
            CheckpointError: Nothing of the model was trained.
            OutputError: The directory can't be written.
        """
        if isinstance(self.model, MaskerModel | LangSam):
            raise CheckpointError(f"{self.name} has nothing of its own to save: others have published its parts")
        save_pretrained(self.model, Path(directory))

    def _check_kinds(self, query: Query) -> None:
        for prompt in query.prompts:
            if prompt.kind not in self.prompt_kinds:
                takers = [row.name for row in MODELS.values() if prompt.kind in row.prompt_kinds]
                raise UnsupportedPromptError(
                    f"{self.name} takes {' and '.join(sorted(self.prompt_kinds))} prompts, no {prompt.kind} prompts "
                    f"(query {query.label!r}); models that do: {', '.join(takers) or 'none yet'}"
                )


def _checked_threshold(threshold: float | None, default: float) -> float:
    if threshold is None:
        return default
    if not 0.0 <= threshold <= 1.0:
        raise PromptError(f"the threshold is a probability in [0, 1], not {threshold}")
    return threshold

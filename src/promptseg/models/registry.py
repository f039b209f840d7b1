"""Look up models by name and build their segmenters. Torch is imported only when a network is built."""

import difflib
import hashlib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptseg.errors import CheckpointError, PromptError, UnknownModelError
from promptseg.models.checkpoint_files import config_text, is_checkpoint, read_description
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.table import MODELS, NETWORK_CONFIGS, ModelConfig, ModelRow, NetworkConfig
from promptseg.ops.deferred import Deferred
from promptseg.runtime import Runtime
from promptseg.segmenter import Segmenter
from promptseg.weights import ReportProgress

if TYPE_CHECKING:
    from promptseg.models.build import Network
    from promptseg.sam.base import PromptableSegmenter

__all__ = ["MODELS", "LoadOptions", "LoadedModel", "ModelRow", "NetworkSource", "find_row", "list_models", "load_model"]

DEFAULT_MODEL = "promptseg"

# Each module has `build(config, source, options) -> Segmenter`. A new architecture adds one line here.
BUILDERS = {
    "promptseg": "promptseg.models.promptseg.build",
    "promptseg-s1": "promptseg.models.promptseg_s1.build",
    "clipseg": "promptseg.models.clipseg.build",
    "langsam": "promptseg.models.grounded_sam.build",
    "interactive": "promptseg.models.interactive.build",
    "uniovseg": "promptseg.models.uniovseg.build",
}


@dataclass(frozen=True)
class LoadOptions:
    """Options for loading a model.

    Attributes:
        runtime: Engine and device of every part.
        offline: Don't access the network for weights.
        progress: Called with (name, bytes fetched, total bytes) while weights are fetched, or None.
    """

    runtime: Runtime
    offline: bool = False
    progress: ReportProgress | None = None

    def load_segmenter(self, name: str) -> Segmenter[Any]:
        """Load a model, without its refiner, as a part of another one, with these options; errors as `load_model`."""
        _, config, source = _find(name, self)
        return _build_without_refiner(config, source, self)


@dataclass(frozen=True, eq=False)
class NetworkSource:
    """A trained network that is loaded on first use.

    Attributes:
        identity: Hash of the config and the trained weights.
        network: Returns the network in evaluation mode on the CPU; imports torch.
    """

    identity: str
    network: Deferred["Network"]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model that is ready to segment.

    Attributes:
        name: Name of the row or of the directory.
        config: Architecture and thresholds.
        segmenter: Runs the inference.
        identity: Hash of the config and the trained weights.
        source: Source of the network; None for a model that consists of published parts.
    """

    name: str
    config: ModelConfig
    segmenter: Segmenter[Any]
    identity: str
    source: NetworkSource | None


def list_models(*, include_tests: bool = False) -> list[str]:
    """Name the models that `load` takes.

    Args:
        include_tests: Also list the tiny random models for tests.
    """
    return [row.name for row in MODELS.values() if include_tests or row.status != "test"]


def find_row(name: str) -> ModelRow:
    """Look up a model by its name.

    Raises:
        UnknownModelError: No model has that name; the message lists similar names.
    """
    if name not in MODELS:
        near = difflib.get_close_matches(name, list_models(), n=3, cutoff=0.4)
        similar = f" similar names: {', '.join(near)};" if near else ""
        raise UnknownModelError(
            f"no model is named {name!r}, and there is no checkpoint at that path;{similar} `promptseg models` lists "
            "all names"
        )
    return MODELS[name]


def load_model(
    name_or_path: str | Path | ModelConfig, options: LoadOptions, overrides: Mapping[str, Any] | None = None
) -> LoadedModel:
    """Load a model.

    Args:
        name_or_path: The name of a row; the directory of a checkpoint, or of a CLIPSeg that transformers saved; a file
            with the original CLIPSeg's decoder, or with Uni-OVSeg's first stage; or the config of a model that consists
            of published parts.
        options: Options for loading.
        overrides: Fields of the config to replace, such as detector="owlv2-base".

    Raises:
        UnknownModelError: No row and no path has that name.
        CheckpointError: The row has no trained weights, or the checkpoint does not fit.
        PromptError: The model lacks an option, or refuses its value.
        WeightsError: Weights can't be fetched or read.
        EngineError: The engine does not run on the device, or its cache can't be written.
    """
    name, config, source = _find(name_or_path, options)
    config = _override(name, config, overrides or {})
    segmenter = _build(config, source, options)
    known = source.identity if source is not None else ""
    identity = hashlib.sha256(f"{known} {config_text(config)}".encode()).hexdigest()[:16]
    return LoadedModel(name, config, segmenter, identity, source)


def load_promptable(
    name_or_path: str | Path, options: LoadOptions, *, input_side: int | None = None
) -> "PromptableSegmenter":
    """Load a promptable segmenter: a SAM, or the mask side of a Uni-OVSeg.

    Args:
        name_or_path: As `sam.load.load_sam`, or a Uni-OVSeg's name, checkpoint or file, as `load_model`.
        options: Options for loading.
        input_side: Longest side that a SAM encodes, pixels; None: 1024. A Uni-OVSeg has its own.

    Raises:
        UnknownModelError: There is no such model.
        CheckpointError: The directory or file holds neither of them.
        WeightsError: The weights can't be fetched.
    """
    from promptseg.sam.load import load_sam

    if _is_network(name_or_path):
        from promptseg.models.uniovseg.segmenter import UniOvSegSegmenter

        segmenter = load_model(name_or_path, options).segmenter
        if not isinstance(segmenter, UniOvSegSegmenter):
            raise CheckpointError(f"{name_or_path} is no promptable segmenter: give a SAM or a Uni-OVSeg")
        return segmenter.sam
    side = {} if input_side is None else {"input_side": input_side}
    return load_sam(name_or_path, runtime=options.runtime, offline=options.offline, progress=options.progress, **side)


def network_source(name_or_path: str | Path, options: LoadOptions) -> tuple[NetworkConfig, NetworkSource]:
    """Find the config and the network of a model, for training.

    Raises:
        UnknownModelError: No row and no path has that name.
        CheckpointError: The model consists of published parts, has no trained weights, or does not fit.
        WeightsError: Weights can't be fetched or read.
    """
    name, config, source = _find(name_or_path, options)
    if source is None:
        raise CheckpointError(f"{name} consists of published parts: it has no network to train")
    return config, source  # type: ignore[return-value]  # only networks have a source


def load_network(
    name_or_path: str | Path, *, offline: bool = False, progress: ReportProgress | None = None
) -> "Network":
    """Load the trained network of a model on the CPU, for further training; errors as `network_source`."""
    _, source = network_source(name_or_path, LoadOptions(Runtime("torch"), offline, progress))
    return source.network.get()


def segment_with(network: "Network", runtime: Runtime | None = None) -> Segmenter[Any]:
    """Build the segmenter of a network in memory, without a refiner, for evaluation during training.

    Args:
        network: Each call uses its weights of that moment. It is put in evaluation mode and moved to the runtime's
            device.
        runtime: None: PyTorch on the network's device. A compiled runtime keeps the weights of its compilation.
    """
    runtime = runtime or Runtime("torch", str(network.device))
    source = NetworkSource(_state_hash(network) if runtime.is_compiled else "", Deferred.of(network))
    return _build_without_refiner(network.config, source, LoadOptions(runtime))


def _build_without_refiner(config: ModelConfig, source: NetworkSource | None, options: LoadOptions) -> Segmenter[Any]:
    if isinstance(config, PromptSegConfig):
        config = replace(config, refiner=None)
    return _build(config, source, options)


def _build(config: ModelConfig, source: NetworkSource | None, options: LoadOptions) -> Segmenter[Any]:
    segmenter: Segmenter[Any] = importlib.import_module(BUILDERS[config.architecture]).build(config, source, options)
    return segmenter


def _state_hash(network: "Network") -> str:
    digest = hashlib.sha256(config_text(network.config).encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _find(
    name_or_path: str | Path | ModelConfig, options: LoadOptions
) -> tuple[str, ModelConfig, NetworkSource | None]:
    if not isinstance(name_or_path, str | Path):
        return name_or_path.architecture, name_or_path, None
    path = Path(name_or_path).expanduser()
    if str(name_or_path) not in MODELS and path.exists():
        return path.resolve().name, *_find_path(path, options)
    row = find_row(str(name_or_path))
    if row.status == "shipped":
        directory = Path(str(resources.files("promptseg") / "checkpoints" / row.name))
        return row.name, *_read_checkpoint(directory, options)
    if row.config.architecture not in NETWORK_CONFIGS:
        return row.name, row.config, None
    if row.status == "published":
        from promptseg.models.clipseg.files import published_source

        return row.name, *published_source(options)
    if row.status == "test":
        return row.name, row.config, NetworkSource(f"test row {row.name}", Deferred(lambda: _seeded(row.config)))
    raise CheckpointError(f"{row.name} has no trained weights: train it with recipes/, then load its directory")


def _find_path(path: Path, options: LoadOptions) -> tuple[ModelConfig, NetworkSource]:
    if path.is_file() and _is_uniovseg(path):
        from promptseg.models.uniovseg.files import stage1_source

        return stage1_source(path, options)
    if path.is_file() or _is_transformers(path):
        from promptseg.models.clipseg.files import original_source, transformers_source

        return original_source(path, options) if path.is_file() else transformers_source(path, options)
    return _read_checkpoint(path, options)


def _read_checkpoint(directory: Path, options: LoadOptions) -> tuple[ModelConfig, NetworkSource]:
    description = read_description(directory)

    def load() -> "Network":
        from promptseg.models.checkpoint import load_pretrained

        return load_pretrained(directory, offline=options.offline, progress=options.progress).eval()

    return description.config, NetworkSource(description.identity(), Deferred(load))


def _is_network(name_or_path: str | Path) -> bool:
    """Whether a name or path is that of a network of the table, a checkpoint or a file, rather than of a SAM."""
    row = MODELS.get(str(name_or_path))
    if row is not None:
        return row.config.architecture in NETWORK_CONFIGS
    path = Path(name_or_path).expanduser()
    return path.is_file() or is_checkpoint(path)


def _is_uniovseg(path: Path) -> bool:
    from promptseg.models.uniovseg.files import is_stage1

    return is_stage1(path)


def _is_transformers(directory: Path) -> bool:
    from promptseg.models.clipseg.files import is_transformers_directory

    return is_transformers_directory(directory)


def _seeded(config: Any) -> "Network":
    from promptseg.models.build import build_seeded

    return build_seeded(config).eval()


def _override(name: str, config: ModelConfig, overrides: Mapping[str, Any]) -> ModelConfig:
    if not overrides:
        return config
    allowed = _options_of(config)
    if unknown := sorted(set(overrides) - set(allowed)):
        has = f"it has {', '.join(allowed)}" if allowed else "it has none"
        raise PromptError(f"{name} has no option {', '.join(map(repr, unknown))}; {has}")
    try:
        return replace(config, **overrides)
    except (TypeError, ValueError) as error:
        raise PromptError(f"{name}: {error}") from error


def _options_of(config: ModelConfig) -> tuple[str, ...]:
    """Name the fields that a caller may replace: all of a model without training, else those that need no training."""
    if config.architecture not in NETWORK_CONFIGS:
        return tuple(field.name for field in fields(config))
    return tuple(name for name in ("refiner", "settings") if name in {field.name for field in fields(config)})

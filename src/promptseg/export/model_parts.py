"""From a loaded model to what is exported of it."""

from typing import Any

from promptseg.encoders.tokenizers import load_tokenizer
from promptseg.encoders.tower_facts import image_tower_facts, text_tower_facts
from promptseg.errors import CheckpointError
from promptseg.export.parts import ExportedModel
from promptseg.export.phrase_parts import (
    clipseg_facts,
    clipseg_parts,
    promptseg_facts,
    promptseg_parts,
    vocabulary_files,
)
from promptseg.export.sam_parts import masker_facts, sam_parts
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.interactive.config import InteractiveConfig
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.registry import LoadedModel, LoadOptions
from promptseg.models.table import ModelConfig
from promptseg.sam.load import load_sam
from promptseg.sam.sam import Sam
from promptseg.weights import RECORDS

PHRASE_USAGE = 'python run.py photo.jpg "cat" masks'
BOX_USAGE = "python run.py photo.jpg 40,60,200,180 masks"

_PHRASES = (
    "Phrases are taken as they are: synonyms, spellings, plurals and referring expressions are read in Python.",
    "One mask per phrase: separate instances are found in Python.",
)
_PROMPTSEG = (
    *_PHRASES,
    "The vector of a name that was not trained is mixed with that of its hypernym in Python.",
    "The crop around an example, and the mixture of examples and phrases, are Python.",
)
_PRESENCE = (
    "The presence is that of the map alone. Python weighs it with the detections of the phrase's class and with a "
    "classifier that is not exported; the thresholds were fitted to the sum."
)
_DETECTIONS = "Detections are boxes and scores of classes; their use as instances of a phrase is Python."
_FUSED = "Python fuses the detections with those of {name}, which is not exported."
_REFINEMENT = (
    "run.py asks the masker once, with the box of the coarse mask. Python asks it for each object of the map with box, "
    "point and coarse mask, takes its mask only where it agrees, and removes small islands and holes."
)
_CLIPSEG = (*_PHRASES, "Exemplars need an attention mask each, so they stay in PyTorch.")
_SAM = ("Several objects in one request, scribbles and the automatic search for every mask are Python.",)


def describe_model(loaded: LoadedModel, options: LoadOptions) -> ExportedModel:
    """List the graphs, facts and files of a model.

    Raises:
        CheckpointError: The model has no graphs that can be exported.
    """
    config = loaded.config
    if isinstance(config, InteractiveConfig):
        return _describe_sam(config, options)
    if isinstance(config, PromptSegConfig) and loaded.source is not None:
        return _describe_promptseg(config, loaded, options)
    if isinstance(config, ClipSegConfig) and loaded.source is not None:
        return _describe_clipseg(config, loaded)
    raise not_exportable(loaded.name, config)


def is_exportable(config: ModelConfig) -> bool:
    """Whether models of this architecture have graphs that can be exported."""
    return isinstance(config, InteractiveConfig | PromptSegConfig | ClipSegConfig)


def not_exportable(name: str, config: ModelConfig) -> CheckpointError:
    """Make the error for a model without exportable graphs."""
    return CheckpointError(
        f"{name} can't be exported: architecture {config.architecture!r} has no graphs that work outside of Python; "
        "promptseg, clipseg, mobile-sam and sam2-hiera-tiny, and checkpoints of their architectures, have"
    )


def _describe_promptseg(config: PromptSegConfig, loaded: LoadedModel, options: LoadOptions) -> ExportedModel:
    assert loaded.source is not None  # the caller checked it
    network: Any = loaded.source.network  # of the architecture that the config says
    parts = promptseg_parts(config, loaded.source.identity, network.get)
    facts = promptseg_facts(config)
    weights = [*_tower_weights(config.image_tower, config.text_tower)]
    if config.refiner is not None:
        sam = _load_sam(config.refiner, config.settings.sam_input_side, options)
        parts += sam_parts(sam, choices=("single",))
        facts["masker"] = masker_facts(sam)
        weights += _sam_weights(config.refiner)
    tokenizer = load_tokenizer(config.text_tower, offline=options.offline, progress=options.progress)
    return ExportedModel(
        parts,
        facts,
        ("photo", f"tokens_{facts['text']['tokenizer']}", *(("masker",) if config.refiner else ()), "phrase"),
        PHRASE_USAGE,
        vocabulary_files(config.text_tower, tokenizer),
        tuple(weights),
        (
            *_PROMPTSEG,
            *((_PRESENCE,) if config.classifier or config.detection_evidence else ()),
            *((_DETECTIONS,) if "detections" in facts else ()),
            *((_FUSED.format(name=config.detector),) if config.detector else ()),
            *((_REFINEMENT,) if config.refiner else ()),
        ),
    )


def _describe_clipseg(config: ClipSegConfig, loaded: LoadedModel) -> ExportedModel:
    assert loaded.source is not None  # the caller checked it
    facts = clipseg_facts(config)
    network: Any = loaded.source.network  # of the architecture that the config says
    return ExportedModel(
        clipseg_parts(config, loaded.source.identity, network.get),
        facts,
        ("photo", f"tokens_{facts['text']['tokenizer']}", "phrase"),
        PHRASE_USAGE,
        vocabulary_files(config.text_tower, network.get().text_tower.tokenizer),
        _tower_weights(config.image_tower, config.text_tower),
        _CLIPSEG,
    )


def _describe_sam(config: InteractiveConfig, options: LoadOptions) -> ExportedModel:
    sam = _load_sam(config.masker, config.input_side, options)
    return ExportedModel(
        sam_parts(sam, choices=("single", "levels")),
        {"masker": masker_facts(sam)},
        ("photo", "masker", "box"),
        BOX_USAGE,
        weights=_sam_weights(config.masker),
        python_only=_SAM,
    )


def _load_sam(name: str, input_side: int, options: LoadOptions) -> Sam:
    sam = load_sam(
        name, runtime=options.runtime, input_side=input_side, offline=options.offline, progress=options.progress
    )
    assert isinstance(sam, Sam)  # every SAM that has a name
    return sam


def _tower_weights(image_tower: str, text_tower: str) -> tuple[str, ...]:
    own = (*(image_tower_facts(image_tower).weights or ()), *(text_tower_facts(text_tower).weights or ()))
    return tuple(dict.fromkeys(own))


def _sam_weights(name: str) -> tuple[str, ...]:
    return (name,) if name in RECORDS else ()

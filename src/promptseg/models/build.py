"""From a config to a network: the architectures by name, and the towers that they are built on."""

from collections.abc import Collection
from typing import TypeAlias

from promptseg.encoders.towers import build_image_tower, build_text_tower, load_tower
from promptseg.models.clipseg.config import ClipSegConfig
from promptseg.models.clipseg.network import ClipSeg
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.network import PromptSeg
from promptseg.weights import ReportProgress

NetworkConfig: TypeAlias = PromptSegConfig | ClipSegConfig
Network: TypeAlias = PromptSeg | ClipSeg

CONFIGS: dict[str, type[NetworkConfig]] = {part.architecture: part for part in (PromptSegConfig, ClipSegConfig)}


def build_network(
    config: NetworkConfig,
    *,
    towers: Collection[str] = (),
    offline: bool = False,
    progress: ReportProgress | None = None,
) -> Network:
    """Build a network whose own part is untrained.

    Args:
        config: Architecture.
        towers: Those of its towers that get their published weights, fetched the first time; others are random.
        offline: Don't use the network.
        progress: Told (name, bytes here, bytes in all) while weights are fetched.

    Raises:
        UnknownModelError: the config names a tower that does not exist.
        ValueError: the config fits no model.
        WeightsError: a tower's weights can't be fetched, or don't fit.
    """
    image_tower = build_image_tower(config.image_tower, config.image_layers)
    text_tower = build_text_tower(config.text_tower)
    if config.image_tower in towers:
        load_tower(image_tower, config.image_tower, offline=offline, progress=progress)
    if config.text_tower in towers:
        load_tower(text_tower, config.text_tower, offline=offline, progress=progress)
    if isinstance(config, ClipSegConfig):
        return ClipSeg(config, image_tower, text_tower)
    return PromptSeg(config, image_tower, text_tower)

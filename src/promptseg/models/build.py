"""Build a network and its towers from a config."""

from collections.abc import Collection
from typing import TypeAlias

import torch

from promptseg.encoders.towers import build_image_tower, build_text_tower, load_tower
from promptseg.models.clipseg.network import ClipSeg
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.promptseg_s1.network import PromptSegS1Network
from promptseg.models.table import NetworkConfig
from promptseg.models.uniovseg.network import UniOvSeg
from promptseg.weights import ReportProgress

Network: TypeAlias = PromptSegNetwork | PromptSegS1Network | ClipSeg | UniOvSeg

NETWORKS: dict[str, type[Network]] = {
    "promptseg": PromptSegNetwork,
    "promptseg-s1": PromptSegS1Network,
    "clipseg": ClipSeg,
    "uniovseg": UniOvSeg,
}


def build_network(
    config: NetworkConfig,
    *,
    towers: Collection[str] = (),
    offline: bool = False,
    progress: ReportProgress | None = None,
) -> Network:
    """Build a network; everything outside the towers has random weights.

    Args:
        config: Architecture.
        towers: Names of the towers that get their published weights, fetched on first use; the others are random.
        offline: Don't access the network.
        progress: Called with (name, bytes fetched, total bytes) while weights are fetched.

    Raises:
        UnknownModelError: The config names a tower that does not exist.
        ValueError: The config does not describe a valid network.
        WeightsError: A tower's weights can't be fetched, or don't fit.
    """
    image_tower = build_image_tower(config.image_tower, config.image_layers)
    if config.image_tower in towers:
        load_tower(image_tower, config.image_tower, offline=offline, progress=progress)
    text_tower = None
    if config.text_tower is not None:
        text_tower = build_text_tower(config.text_tower)
        if config.text_tower in towers:
            load_tower(text_tower, config.text_tower, offline=offline, progress=progress)
    return NETWORKS[config.architecture](config, image_tower, text_tower)  # type: ignore[arg-type]  # the name selects the type


def build_pretrained(config: NetworkConfig, *, pretrained: bool = False, offline: bool = False) -> Network:
    """Build an untrained network.

    Args:
        config: Architecture.
        pretrained: Load the towers' published weights, fetched on first use; otherwise the towers are random.
        offline: Don't access the network.

    Raises:
        UnknownModelError: The config names a tower that does not exist.
        ValueError: The config does not describe a valid network.
        WeightsError: A tower's weights can't be fetched, or don't fit.
    """
    names = [name for name in (config.image_tower, config.text_tower) if name is not None]
    return build_network(config, towers=names if pretrained else (), offline=offline)


def build_seeded(config: NetworkConfig) -> Network:
    """Build a network with reproducible random weights (seed 0); errors as `build_network`."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return build_network(config)

"""Phrases as vectors of CLIP ViT-B/32: from tables where a phrase is a known name, else from its text encoder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor

from promptseg.encoders.base import TextTower
from promptseg.errors import WeightsError
from promptseg.weights.convert.name_tables import NAMES_FILE, VECTORS_FILE, clean_name

TOWER = "clip-vit-base-patch32"


@dataclass(frozen=True)
class NameTable:
    """Names and their vectors.

    Attributes:
        names: N of them, as `clean_name` writes them.
        vectors: Shape (N, 512), length 1.
    """

    names: tuple[str, ...]
    vectors: Tensor


class PhraseVectors:
    """Looks phrases up.

    Args:
        tables: Tried in order.
        tower: CLIP ViT-B/32's text tower with its weights, for what no table knows; None: such phrases are refused.
    """

    def __init__(self, tables: Sequence[NameTable], tower: TextTower | None = None) -> None:
        self.tower = tower
        self._known: dict[str, Tensor] = {}
        for table in tables:
            for name, vector in zip(table.names, F.normalize(table.vectors.float(), dim=1), strict=True):
                self._known.setdefault(clean_name(name), vector)

    @torch.inference_mode()
    def embed(self, phrases: Sequence[str]) -> Tensor:
        """Give one vector a phrase, shape (N, 512), length 1.

        Raises:
            WeightsError: A phrase is in no table, and there is no tower.
        """
        return torch.stack([self._embed_one(phrase) for phrase in phrases])

    def _embed_one(self, phrase: str) -> Tensor:
        known = self._known.get(clean_name(phrase))
        if known is not None:
            return known
        if self.tower is None:
            raise WeightsError(
                f"no vector for {phrase!r}: without CLIP's text tower only {len(self._known):,} names are known; "
                f"with a network, run: promptseg weights pull {TOWER}"
            )
        pooled: Tensor = self.tower(*self.tower.tokenize([phrase])).pooled
        return pooled[0].cpu()


def load_name_table(directory: Path) -> NameTable:
    """Read what the conversion `clip-names` wrote."""
    names = json.loads((directory / NAMES_FILE).read_text(encoding="utf-8"))
    return NameTable(tuple(names), load_file(directory / VECTORS_FILE)["vectors"])

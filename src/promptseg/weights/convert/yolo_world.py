"""Convert YOLO-World v2 from its published .pt file, a pickle of Python objects, from which only tensors are read.

Source:
    Layer numbers and tensor names of the published yolov8{s,m,l,x}-worldv2.pt; the code that wrote them is not needed.
"""

import io
import json
import pickle
import re
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from promptseg.errors import WeightsError
from promptseg.weights.convert.checkpoints import write_tensors

NAMES_FILE = "names.json"
WEIGHTS_FILE = "model.safetensors"
NAME_VECTORS = "name_vectors"
_NORM_EPS = 1e-3

_PLAIN = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch", "Size"): torch.Size,
    ("torch._utils", "_rebuild_tensor_v2"): torch._utils._rebuild_tensor_v2,
    ("torch._utils", "_rebuild_parameter"): torch._utils._rebuild_parameter,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}

_RENAMED = (
    (r"^model\.22\.cv2\.", "heads.boxes."),
    (r"^model\.22\.cv3\.", "heads.embeddings."),
    (r"^heads\.(boxes|embeddings)\.(\d)\.", r"heads.\2.\1."),
    (r"^model\.22\.cv4\.(\d)\.logit_scale$", r"heads.\1.log_scale"),
    (r"^model\.22\.cv4\.(\d)\.bias$", r"heads.\1.bias"),
    (r"^model\.9\.cv1\.", "layers.9.narrow."),
    (r"^model\.9\.cv2\.", "layers.9.join."),
    (r"^model\.", "layers."),
    (r"\.m\.(\d+)\.cv1\.", r".blocks.\1.first."),
    (r"\.m\.(\d+)\.cv2\.", r".blocks.\1.second."),
    (r"\.cv1\.", ".enter."),
    (r"\.cv2\.", ".leave."),
    (r"\.attn\.gl\.", ".guide_text."),
    (r"\.attn\.bias$", ".guide_bias"),
    (r"\.attn\.proj_conv\.", ".guided."),
)


class _Inert:
    """Placeholder for all classes of the pickle except plain containers: it holds attributes and does nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setitem__(self, *_: object) -> None:
        pass


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler for tensors and plain containers; all other classes become `_Inert`, so no code in the file runs."""

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        return _PLAIN.get((module_name, global_name), _Inert)


def _load(stream: io.BytesIO, **options: Any) -> Any:
    return _TensorUnpickler(stream, **options).load()


def convert_yolo_world(files: Mapping[str, Path], target: Path) -> None:
    """Write the network's tensors and the names of its text vectors.

    Raises:
        WeightsError: The file is not a YOLO-World v2.
    """
    ((_, path),) = files.items()
    tensors, names = read_yolo_world(path)
    write_tensors(target / WEIGHTS_FILE, tensors)
    (target / NAMES_FILE).write_text(json.dumps(names) + "\n", encoding="utf-8")


def read_yolo_world(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Read a published checkpoint without running code in it.

    Returns:
        Tensors, float32, with folded norms, under the names of `detectors.yolo_world_net.YoloWorldNet`, and text
        vectors, shape (N, 512), under `NAME_VECTORS`; and the N names of the text vectors.

    Raises:
        WeightsError: The file is damaged, or not a YOLO-World v2.
    """
    reader = SimpleNamespace(Unpickler=_TensorUnpickler, load=_load, __name__="tensors alone")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=reader)
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, TypeError, ValueError, KeyError) as error:
        raise WeightsError(f"{path.name}: can't be read as a checkpoint: {str(error).splitlines()[0]}") from error
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, _Inert):
        raise WeightsError(f"{path.name}: holds no network under 'model'")
    published = {name: value.float() for name, value in _walk(model, "")}
    names, vectors = getattr(model, "names", None), getattr(model, "txt_feats", None)
    if "model.22.cv4.0.norm.weight" not in published or not isinstance(names, dict) or not isinstance(vectors, Tensor):
        raise WeightsError(f"{path.name}: not a YOLO-World v2 (…-worldv2.pt)")
    tensors = {_rename(name): value for name, value in _fold_norms(published).items()}
    tensors[NAME_VECTORS] = torch.nn.functional.normalize(vectors.float().reshape(len(names), -1), dim=1)
    return tensors, [str(names[index]) for index in range(len(names))]


def _walk(module: _Inert, prefix: str) -> list[tuple[str, Tensor]]:
    """List the parameters and buffers of a module and its submodules, like state_dict()."""
    held = vars(module)
    found = [
        (prefix + name, value)
        for kind in ("_parameters", "_buffers")
        for name, value in held.get(kind, {}).items()
        if isinstance(value, Tensor) and value.is_floating_point()
    ]
    for name, child in held.get("_modules", {}).items():
        if isinstance(child, _Inert):
            found += _walk(child, f"{prefix}{name}.")
    return found


def _fold_norms(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold every batch norm into the convolution before it; other tensors do not change."""
    folded = {name: value for name, value in published.items() if not re.search(r"\.(bn|norm|conv|dfl)\.", f".{name}")}
    for name in published:
        if name.endswith(".bn.weight"):
            stem = name.removesuffix(".bn.weight")
            scale, shift = _scale_and_shift(published, f"{stem}.bn")
            folded[f"{stem}.weight"] = published[f"{stem}.conv.weight"] * scale[:, None, None, None]
            folded[f"{stem}.bias"] = shift
        elif name.endswith(".norm.weight"):
            # the norm of the similarity follows the last convolution of the embeddings
            level = name.split(".")[-3]
            scale, shift = _scale_and_shift(published, name.removesuffix(".weight"))
            last = f"model.22.cv3.{level}.2"
            folded[f"{last}.weight"] = published[f"{last}.weight"] * scale[:, None, None, None]
            folded[f"{last}.bias"] = published[f"{last}.bias"] * scale + shift
    return folded


def _scale_and_shift(published: Mapping[str, Tensor], norm: str) -> tuple[Tensor, Tensor]:
    scale = published[f"{norm}.weight"] / (published[f"{norm}.running_var"] + _NORM_EPS).sqrt()
    return scale, published[f"{norm}.bias"] - published[f"{norm}.running_mean"] * scale


def _rename(name: str) -> str:
    for pattern, ours in _RENAMED:
        name = re.sub(pattern, ours, name)
    return name

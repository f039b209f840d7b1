"""Read names, types and shapes of inputs and outputs from written graphs."""

from pathlib import Path
from typing import Any

from promptseg.export.parts import ExportPart

# A shape: lengths of fixed axes; free ones as "rows" or "32*rows", or None where the file does not say.
Tensors = dict[str, dict[str, Any]]


def describe_inputs(part: ExportPart, path: Path) -> Tensors:
    """Describe the inputs of a graph file; free axes are as the part says."""
    inputs, _ = _read(path)
    for name, tensor in inputs.items():
        for axis, free_axis in part.axes.get(name, {}).items():
            tensor["shape"][axis] = str(free_axis)
    return inputs


def describe_outputs(path: Path) -> Tensors:
    """Describe the outputs of a graph file; the length of a free axis is None."""
    return _read(path)[1]


def _read(path: Path) -> tuple[Tensors, Tensors]:
    return _read_onnx(path) if path.suffix == ".onnx" else _read_openvino(path)


def _read_onnx(path: Path) -> tuple[Tensors, Tensors]:
    import onnx

    graph = onnx.load(path, load_external_data=False).graph

    def describe(value: Any) -> dict[str, Any]:
        tensor = value.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
        shape = [axis.dim_value if axis.HasField("dim_value") else None for axis in tensor.shape.dim]
        return {"dtype": dtype, "shape": shape}

    return ({one.name: describe(one) for one in graph.input}, {one.name: describe(one) for one in graph.output})


def _read_openvino(path: Path) -> tuple[Tensors, Tensors]:
    from promptseg.runtime.silent_openvino import openvino

    graph = openvino.Core().read_model(path)

    def describe(port: Any) -> dict[str, Any]:
        shape = [axis.get_length() if axis.is_static else None for axis in port.get_partial_shape()]
        return {"dtype": port.get_element_type().to_dtype().name, "shape": shape}

    return (
        {port.get_any_name(): describe(port) for port in graph.inputs},
        {port.get_any_name(): describe(port) for port in graph.outputs},
    )

"""Products of a graph computed in int8: weights and inputs are rounded to 8 bits, everything else stays as it is.

What has to be known of the inputs was fitted once on training images, by lab/fit_int8.py, and is a file of this package
beside the part of the model that it belongs to. OpenVINO computes a product in int8 where both sides pass a rounding:
this module puts the roundings into a graph before it is compiled.

Source of the ideas: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", arXiv:1712.05877 (8 bits with a zero point, weights for each output channel alone);
Xiao et al. 2023, "SmoothQuant", arXiv:2211.10438 (channels of the input scaled against the weights); Nagel et al. 2019,
"Data-Free Quantization Through Weight Equalization and Bias Correction", arXiv:1906.04721 (the mean error is added).

Shapes: C input channels, K output channels.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from promptseg.runtime.silent_openvino import openvino

# not imported by name: an import of openvino before that of `silent_openvino` would let it report
opset13 = openvino.opset13
LARGEST_WEIGHT = 127
NUM_LEVELS = 256

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ProductFit:
    """What was fitted for one product.

    Attributes:
        low, high: Range of the scaled input, low <= 0 <= high; what is outside is rounded to its ends.
        bias: Added to the output: the mean error of the rounded product with its sign turned, shape (K,).
        scales: What the input's channels are divided by, and those of the weights multiplied by, shape (C,); of length
            0: nothing.
    """

    low: float
    high: float
    bias: NDArray[np.float16]
    scales: NDArray[np.float16] = field(default_factory=lambda: np.zeros(0, np.float16))


@dataclass(frozen=True, eq=False)
class Int8Fits:
    """What was fitted for the products of one graph.

    Attributes:
        products: By the digest of the product's weights; the others stay as they are.
        digest: Hash of the file, which tells graphs in the cache apart.
    """

    products: Mapping[str, ProductFit]
    digest: str = ""


@dataclass(frozen=True, eq=False)
class Product:
    """A convolution or product of matrices with constant weights.

    Attributes:
        node: Of the graph.
        weights: Output channels first, shape (K, C, ...).
        is_transposed: Whether the graph holds them with input channels first, shape (C, K).
        is_convolution: Whether channels are the second axis of input and output, instead of the last.
    """

    node: openvino.Node
    weights: Floats
    is_transposed: bool
    is_convolution: bool

    @property
    def name(self) -> str:
        """The name of its node, which the modules of PyTorch give."""
        return str(self.node.get_friendly_name())

    @property
    def digest(self) -> str:
        """Hash of the weights: unlike names, it does not depend on the versions of torch and OpenVINO."""
        return hashlib.sha256(np.ascontiguousarray(self.weights).tobytes()).hexdigest()[:16]

    def along_channels(self, values: NDArray[np.floating]) -> openvino.Node:
        """Give a value for each channel as a constant that fits the input or output."""
        shape = (1, -1, 1, 1) if self.is_convolution else (-1,)
        return opset13.constant(values.astype(np.float32).reshape(shape))


def read_fits(path: Path) -> Int8Fits:
    """Read the file of `write_fits`."""
    with np.load(path) as table:
        arrays = {name: table[name] for name in table.files}
    products = {}
    bias_end = scales_end = 0
    columns = (arrays[name].tolist() for name in ("weights", "lows", "highs", "num_outputs", "num_scales"))
    for weights, low, high, num_outputs, num_scales in zip(*columns, strict=True):
        bias = arrays["bias"][bias_end : bias_end + num_outputs]
        scales = arrays["scales"][scales_end : scales_end + num_scales]
        bias_end, scales_end = bias_end + num_outputs, scales_end + num_scales
        products[weights] = ProductFit(low, high, bias, scales)
    return Int8Fits(products, hashlib.sha256(path.read_bytes()).hexdigest())


def write_fits(fits: Int8Fits, path: Path) -> None:
    """Write what was fitted, as float16 where each channel has a value."""
    products = fits.products.values()
    np.savez_compressed(
        path,
        weights=np.array(list(fits.products)),
        lows=np.array([each.low for each in products], np.float32),
        highs=np.array([each.high for each in products], np.float32),
        num_outputs=np.array([len(each.bias) for each in products]),
        num_scales=np.array([len(each.scales) for each in products]),
        bias=np.concatenate([each.bias for each in products]),
        scales=np.concatenate([each.scales for each in products]),
    )


def fold_constants(graph: openvino.Model) -> None:
    """Compute what is constant, so that weights are constants."""
    # here and not above, for the same reason
    from openvino.passes import ConstantFolding, Manager

    passes = Manager()
    passes.register_pass(ConstantFolding())
    passes.run_passes(graph)


def find_products(graph: openvino.Model) -> Iterator[Product]:
    """Find the products whose weights are constants, in the order of computation; see `fold_constants`."""
    for node in graph.get_ordered_ops():
        kind = node.get_type_name()
        if kind not in ("Convolution", "MatMul"):
            continue
        given, constant = (node.input_value(index).get_node() for index in range(2))
        if constant.get_type_name() != "Constant" or given.get_type_name() == "Constant":
            continue
        weights = constant.data.astype(np.float32)
        if weights.ndim != (4 if kind == "Convolution" else 2):
            continue
        is_transposed = kind == "MatMul" and not node.get_attributes()["transpose_b"]
        yield Product(node, weights.T if is_transposed else weights, is_transposed, kind == "Convolution")


def scaled_weights(weights: Floats, scales: NDArray[np.floating]) -> Floats:
    """Multiply the input channels of weights (K, C, ...) by scales (C,), if there are any."""
    if not len(scales):
        return weights
    return weights * scales.astype(np.float32).reshape(1, -1, *(1,) * (weights.ndim - 2))


def round_weights(weights: Floats) -> tuple[NDArray[np.int8], Floats]:
    """Round weights (K, C, ...) to 8 bits: integers, and what they are multiplied by, shape (K, 1, ...)."""
    largest = np.abs(weights).max(axis=tuple(range(1, weights.ndim)), keepdims=True)
    steps = np.maximum(largest / LARGEST_WEIGHT, np.float32(1e-12))
    return np.rint(weights / steps).astype(np.int8), steps


def input_grid(low: float, high: float) -> tuple[float, float]:
    """Widen a range so that 0 is one of its 256 values, as filled borders need it."""
    low, high = min(low, 0.0), max(high, 1e-6)
    if low == 0.0:
        return low, high
    zero = min(max(round(-low / (high - low) * (NUM_LEVELS - 1)), 1), NUM_LEVELS - 2)
    step = max(-low / zero, high / (NUM_LEVELS - 1 - zero))
    return -zero * step, (NUM_LEVELS - 1 - zero) * step


def put_int8(graph: openvino.Model, fits: Int8Fits) -> bool:
    """Let products of a graph be computed in int8, as they were fitted.

    Args:
        graph: Changed, if it has the weights of all products that were fitted.
        fits: For the products.

    Returns:
        Whether it has them; otherwise it computes what it computed.
    """
    fold_constants(graph)
    products = [(product, fits.products.get(product.digest)) for product in find_products(graph)]
    if {product.digest for product, fit in products if fit is not None} != set(fits.products):
        return False
    for product, fit in products:
        if fit is not None:
            _round_product(product, fit)
    graph.validate_nodes_and_infer_types()
    return True


def _round_product(product: Product, fit: ProductFit) -> None:
    integers, steps = round_weights(scaled_weights(product.weights, fit.scales))
    if product.is_transposed:
        integers, steps = np.ascontiguousarray(integers.T), np.ascontiguousarray(steps.T)
    weights = opset13.multiply(
        opset13.convert(opset13.constant(integers), np.float32), opset13.constant(steps.astype(np.float32))
    )
    given = product.node.input_value(0)
    if len(fit.scales):
        given = opset13.multiply(given, product.along_channels(1 / fit.scales.astype(np.float32))).output(0)
    product.node.input(0).replace_source_output(_rounded(given, fit.low, fit.high).output(0))
    product.node.input(1).replace_source_output(weights.output(0))
    readers = list(product.node.output(0).get_target_inputs())
    shifted = opset13.add(product.node.output(0), product.along_channels(fit.bias))
    for reader in readers:
        reader.replace_source_output(shifted.output(0))


def _rounded(given: openvino.Output, low: float, high: float) -> openvino.Node:
    ends = [opset13.constant(np.float32(end)) for end in 2 * input_grid(low, high)]
    return opset13.fake_quantize(given, *ends, NUM_LEVELS)


def computes_exactly(core: openvino.Core) -> bool:
    """Whether this CPU adds products of 8 bits without loss, by a small product whose sum is known.

    CPUs without VNNI add pairs of them in 16 bits, which are too few for large values: wrong masks, and hardly faster.
    """
    side = 64
    given = opset13.parameter([side, side], np.float32)
    weights = opset13.multiply(
        opset13.convert(opset13.constant(np.full((side, side), LARGEST_WEIGHT, np.int8)), np.float32),
        opset13.constant(np.ones((side, 1), np.float32)),
    )
    product = opset13.matmul(
        _rounded(given.output(0), 0.0, NUM_LEVELS - 1.0), weights, transpose_a=False, transpose_b=True
    )
    model = openvino.Model([product], [given])
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    request = core.compile_model(model, "CPU", settings).create_infer_request()
    largest = np.full((side, side), NUM_LEVELS - 1.0, np.float32)
    (answer,) = request.infer([largest]).values()
    expected = side * (NUM_LEVELS - 1.0) * LARGEST_WEIGHT
    return bool(np.allclose(answer, expected, rtol=1e-3))

"""Fit what the image encoders of the default model need to be computed in int8, on training photos.

python -m lab.fit_int8 --data DATA --photos 24 --seed 0

Of every product it writes the range of its input with the least mean squared error, the scales of the input's channels
where they help, and the mean error of the rounded product. Products that lose much are left out, and all of YOLOX-Nano:
its scores move by .06 in int8 (by .02 in bfloat16). The photos are listed in lab/int8_images.txt. Prints one line for
each product; lab/experiments.md says what was tried.

Shapes: C input channels, K output channels, N sampled positions.
"""

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import promptseg
from lab.sets import load_training_set
from promptseg.runtime import GraphSource, Runtime
from promptseg.runtime.export import convert
from promptseg.runtime.int8_products import (
    NUM_LEVELS,
    Int8Fits,
    Product,
    ProductFit,
    find_products,
    fold_constants,
    input_grid,
    round_weights,
    scaled_weights,
    write_fits,
)
from promptseg.runtime.silent_openvino import openvino

SET = "coco_train"
IMAGE_LIST = Path(__file__).with_name("int8_images.txt")
PACKAGE = Path(promptseg.__file__).parent
SAMPLES_PER_PHOTO = 400
MAX_VALUES = 200_000

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Plan:
    """How a graph is fitted.

    Attributes:
        graph: Its name.
        exponent: Of the channels' extremes in their scales, the rest is the weights'; 0: no scales.
        left_out: Parts of names of products that stay in float32.
        max_error: Products whose rounded input changes their output by more stay too, as a share of its deviation.
    """

    graph: str
    exponent: float = 0.0
    left_out: tuple[str, ...] = ()
    max_error: float = 0.06


PLANS = (
    Plan("mobile-sam-encode-480x640", exponent=0.65, left_out=("patch_embed",)),
    Plan("promptseg-images", left_out=("image_tower.second",)),
    Plan("efficientnet-lite2-classes"),
)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What goes into a product.

    Attributes:
        low, high: Extremes of each channel, shape (C,).
        mean: Of each channel, shape (C,).
        samples: At some positions, shape (N, C).
    """

    low: Floats
    high: Floats
    mean: Floats
    samples: Floats

    def divided(self, scales: NDArray[np.floating]) -> "Inputs":
        """Divide the channels by scales (C,), if there are any."""
        if not len(scales):
            return self
        by = scales.astype(np.float32)
        return Inputs(self.low / by, self.high / by, self.mean / by, self.samples / by)


def main() -> None:
    """Fit all graphs and write their files into the package."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="directory of the index files and their images")
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    samples = sorted(load_training_set(SET, options.data), key=lambda sample: str(sample.sample_id))
    order = np.random.default_rng(options.seed).permutation(len(samples))[: options.photos]
    chosen = [samples[index] for index in order]
    IMAGE_LIST.write_text("".join(f"{sample.sample_id}\n" for sample in chosen), encoding="utf-8")
    sources, pixels = watch_graphs([(sample.image, sample.targets[0].phrase) for sample in chosen])
    for plan in PLANS:
        source = sources[plan.graph]
        assert source.int8_fits is not None
        fits = fit_graph(plan, source, pixels[plan.graph], np.random.default_rng(options.seed))
        write_fits(fits, PACKAGE / source.int8_fits)


def watch_graphs(
    photos: Sequence[tuple[Path, str]],
) -> tuple[dict[str, GraphSource], dict[str, list[Floats]]]:
    """Segment photos by a phrase each, and keep the sources of the graphs and the pixels that they are given."""
    sources: dict[str, GraphSource] = {}
    pixels: dict[str, list[Floats]] = defaultdict(list)
    open_graph = Runtime.graph

    def open_watched(runtime: Runtime, source: GraphSource) -> Any:
        graph = open_graph(runtime, source)
        sources[source.name] = source

        def compute(**inputs: NDArray[Any]) -> Any:
            if "pixels" in inputs:
                pixels[source.name].append(inputs["pixels"].copy())
            return graph(**inputs)

        return compute

    Runtime.graph = open_watched  # type: ignore[method-assign,assignment]  # the only place that sees all graphs
    predictor = promptseg.load(engine="openvino", device="cpu")
    for image, phrase in photos:
        predictor.segment(predictor.encode(image), [phrase], threshold=0.0)
    return sources, pixels


def fit_graph(plan: Plan, source: GraphSource, pixels: Sequence[Floats], rng: np.random.Generator) -> Int8Fits:
    """Fit the products of a graph to what goes into them."""
    graph = convert(source.build())
    fold_constants(graph)
    products = [each for each in find_products(graph) if not any(part in each.name for part in plan.left_out)]
    inputs = watch_products(graph, products, pixels, rng)
    fits = {}
    for product in products:
        scales = choose_scales(inputs[product.name], product.weights, plan.exponent)
        fit, error = fit_product(inputs[product.name].divided(scales), scaled_weights(product.weights, scales), rng)
        is_kept = error <= plan.max_error
        line = {"graph": plan.graph, "product": product.name, "error": round(error, 4), "int8": is_kept}
        sys.stdout.write(json.dumps(line) + "\n")
        if is_kept:
            fits[product.digest] = replace(fit, scales=scales)
    return Int8Fits(fits)


def watch_products(
    graph: openvino.Model, products: Sequence[Product], pixels: Sequence[Floats], rng: np.random.Generator
) -> dict[str, Inputs]:
    """Compute a graph in float32, and describe what goes into its products."""
    num_outputs = len(graph.outputs)
    given = {_port(product): product.node.input_value(0) for product in products}  # several products may share one
    graph.add_outputs(list(given.values()))
    indexes = {port: index for index, port in enumerate(given, start=num_outputs)}
    request = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    seen: dict[str, list[Inputs]] = defaultdict(list)
    for one in pixels:
        request.infer([one])
        for product in products:
            values = request.get_output_tensor(indexes[_port(product)]).data
            if product.is_convolution:
                values = values[0].reshape(values.shape[1], -1).T
            values = values.reshape(-1, values.shape[-1])
            some = values[rng.choice(len(values), min(len(values), SAMPLES_PER_PHOTO), replace=False)]
            seen[product.name].append(Inputs(values.min(0), values.max(0), values.mean(0), some))
    return {
        name: Inputs(
            np.min([each.low for each in photos], axis=0),
            np.max([each.high for each in photos], axis=0),
            np.mean([each.mean for each in photos], axis=0),
            np.concatenate([each.samples for each in photos]),
        )
        for name, photos in seen.items()
    }


def _port(product: Product) -> tuple[str, int]:
    given = product.node.input_value(0)
    return given.get_node().get_friendly_name(), given.get_index()


def choose_scales(inputs: Inputs, weights: Floats, exponent: float) -> NDArray[np.float16]:
    """Balance the extremes of the input's channels against those of their weights."""
    if not exponent:
        return np.zeros(0, np.float16)
    largest_inputs = np.maximum(np.maximum(-inputs.low, inputs.high), 1e-6)
    largest_weights = np.maximum(np.abs(np.moveaxis(weights, 1, 0)).reshape(weights.shape[1], -1).max(1), 1e-6)
    scales = largest_inputs**exponent / largest_weights ** (1 - exponent)
    return np.clip(scales / np.exp(np.log(scales).mean()), 1e-3, 1e3).astype(np.float16)


def fit_product(inputs: Inputs, weights: Floats, rng: np.random.Generator) -> tuple[ProductFit, float]:
    """Fit a product to its scaled inputs, and measure how much their rounding changes its output."""
    low, high = choose_range(inputs, rng)
    error = _rounded(inputs.samples, low, high) - inputs.samples
    integers, steps = round_weights(weights)
    # a filter's mean error is that of an input which is the mean everywhere
    exact = weights.reshape(*weights.shape[:2], -1).sum(axis=2)
    rounded = (integers * steps).reshape(exact.shape[0], exact.shape[1], -1).sum(axis=2)
    bias = exact @ inputs.mean - rounded @ (inputs.mean + error.mean(axis=0))
    outputs, changes = inputs.samples @ exact.T, error @ exact.T
    fit = ProductFit(low, high, bias.astype(np.float16))
    return fit, float(np.sqrt(changes.var(axis=0).mean() / outputs.var(axis=0).mean()))


def choose_range(inputs: Inputs, rng: np.random.Generator) -> tuple[float, float]:
    """Find the range whose 256 values are nearest to the inputs in the mean square."""
    values = inputs.samples.ravel()
    if len(values) > MAX_VALUES:
        values = rng.choice(values, MAX_VALUES, replace=False)
    low, high = min(float(inputs.low.min()), 0.0), max(float(inputs.high.max()), 1e-6)
    shares = np.geomspace(0.1, 1.0, 40).tolist()
    share_low = share_high = 1.0

    def error(one: float, other: float) -> float:
        return float(np.square(_rounded(values, low * one, high * other) - values).mean())

    for _ in range(3):
        share_low = min(shares, key=lambda share: error(share, share_high)) if low < 0 else 1.0
        share_high = min(shares, key=lambda share: error(share_low, share))
    return low * share_low, high * share_high


def _rounded(values: Floats, low: float, high: float) -> Floats:
    low, high = input_grid(low, high)
    step = (high - low) / (NUM_LEVELS - 1)
    return (np.clip(np.rint((values - low) / step), 0, NUM_LEVELS - 1) * step + low).astype(np.float32)


if __name__ == "__main__":
    main()

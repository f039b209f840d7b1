"""Classify the parts of an image with a published classifier. Torch is imported only to build its graph.

Shapes: K classes, h w cells.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from promptseg import weights
from promptseg.encoders.pixels import PixelStatistics, fit_size, to_pixels
from promptseg.encoders.tower_facts import image_tower_facts
from promptseg.runtime import Graph, GraphSource, Runtime, Step
from promptseg.weights import ReportProgress

ClassifierName = Literal["efficientnet-lite2"]
"""Classifiers of ImageNet's 1,000 classes."""

INT8_FITS = "encoders/classifier_int8.npz"


class ImageClassifier(Protocol):
    """Classifies the parts of an image."""

    def classify(self, image_rgb: NDArray[np.uint8], *, image_size: int | None = None) -> NDArray[np.float32]:
        """Compute class logits for each cell of an image, shape (K, h, w); image: uint8, shape (H, W, 3).

        The softmax of their mean over some cells gives the class probabilities of this part of the image. `image_size`
        is the longest side of the classifier's input, pixels; None: its usual one.
        """
        ...


@dataclass(frozen=True, eq=False)
class GraphClassifier:
    """A classifier that an engine computes. Threads may share it.

    Attributes:
        graph: pixels (1, 3, H, W) -> class_logits (1, K, h, w).
        image_size: Longest side of its input, pixels.
        multiple: Both sides of its input are multiples of this.
        statistics: Statistics for the normalization of pixels.
    """

    graph: Graph
    image_size: int
    multiple: int
    statistics: PixelStatistics

    def classify(self, image_rgb: NDArray[np.uint8], *, image_size: int | None = None) -> NDArray[np.float32]:
        """Compute class logits for each cell of an image; see `ImageClassifier.classify`."""
        height, width, _ = image_rgb.shape
        size_hw = fit_size(
            (height, width), image_size=image_size or self.image_size, multiple=self.multiple, resize="aspect"
        )
        logits: NDArray[np.float32] = self.graph(pixels=to_pixels(image_rgb, size_hw, self.statistics))["class_logits"]
        return logits[0]


def load_classifier(
    name: ClassifierName,
    *,
    image_size: int,
    runtime: Runtime,
    offline: bool = False,
    progress: ReportProgress | None = None,
) -> GraphClassifier:
    """Load a classifier with its published weights.

    Args:
        name: Name of the classifier.
        image_size: Longest side of its input, pixels.
        runtime: Engine and device that compute it.
        offline: Don't access the network.
        progress: Called with (name, bytes fetched, total bytes) while weights are fetched.

    Raises:
        WeightsError: The weights can't be fetched, or don't fit.
    """
    facts = image_tower_facts(name)
    path = weights.resolve(name, offline=offline, progress=progress)
    identity = " ".join(file.sha256 for file in weights.find_record(name).files)
    build = partial(_build_step, path, image_size)
    source = GraphSource(f"{name}-classes", f"{identity} {image_size}", build, ("encoders", "layers"), INT8_FITS)
    graph = runtime.graph(source)
    return GraphClassifier(graph, image_size, facts.multiple, PixelStatistics(facts.mean, facts.std))


def _build_step(path: Path, image_size: int) -> Step:
    import torch

    from promptseg.encoders.efficientnet_lite import CellClassifier, EfficientNetLite

    tower = EfficientNetLite("lite2", ("head",), classifier=True)
    tower.load_weights(path)
    pixels = torch.zeros(1, 3, image_size, image_size)
    return Step(CellClassifier(tower).eval(), {"pixels": pixels}, {"pixels": (-2, -1)}, ("class_logits",))

"""Detect the objects of COCO's 80 names with EfficientDet-Lite0. Torch is imported only to build its graph.

Shapes: K boxes, V = 80 names.
"""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from promptseg.encoders.pixels import PixelStatistics, fit_size, to_pixels
from promptseg.encoders.tower_facts import LITE_MEAN, LITE_STD
from promptseg.runtime import Graph, GraphSource, Runtime, Step

Floats = NDArray[np.float32]
DetectorName = Literal["efficientdet-lite0"]
"""Detectors whose weights the package holds."""

DETECTOR_NAMES: tuple[DetectorName, ...] = get_args(DetectorName)
WEIGHTS_SHA256 = "fbfe9db1cf12a70dc71bee8b43693fbd57a65d9c849ee49fefe719a0ee2f8eb4"

IMAGE_SIDE = 320  # pixels; the anchors and their strides are those of this size
GRIDS = (40, 20, 10, 5, 3)  # cells on each side of the five maps, from fine to coarse
OCTAVES, ASPECTS = (0.0, 1 / 3, 2 / 3), (1.0, 2.0, 0.5)  # of a cell's anchors: size, and width by height
ANCHOR_SCALE = 3.0  # side of a cell's smallest anchor, in strides
_STATISTICS = PixelStatistics(LITE_MEAN, LITE_STD)


class ObjectDetector(Protocol):
    """Detects objects."""

    def detect(self, image_rgb: NDArray[np.uint8]) -> Floats:
        """Detect the objects of an image, uint8, shape (H, W, 3).

        Returns:
            Shape (K, 4 + V), best first: left, top, right, bottom as shares of the image's sides, then the score of
            each name in [0, 1]; without non-maximum suppression.
        """
        ...


@dataclass(frozen=True, eq=False)
class GraphDetector:
    """EfficientDet-Lite0, computed by an engine. Threads may share it.

    Attributes:
        graph: pixels (1, 3, 320, 320) -> scores (1, K, V), raw_boxes (1, K, 4), anchor (1, K), the anchor's index.
    """

    graph: Graph

    def detect(self, image_rgb: NDArray[np.uint8]) -> Floats:
        """Detect the objects of an image; see `ObjectDetector.detect`."""
        height, width, _ = image_rgb.shape
        rows, columns = fit_size((height, width), image_size=IMAGE_SIDE, multiple=1, resize="aspect")
        # the image is at the top left; the rest is gray, 127, which normalization makes 0
        pixels = np.zeros((1, 3, IMAGE_SIDE, IMAGE_SIDE), dtype=np.float32)
        pixels[..., :rows, :columns] = to_pixels(image_rgb, (rows, columns), _STATISTICS)
        found = self.graph(pixels=pixels)
        corners = decode_boxes(found["raw_boxes"][0], make_anchors()[found["anchor"][0]])
        shares = corners / np.array([columns, rows, columns, rows])
        return np.concatenate([shares, found["scores"][0]], axis=1, dtype=np.float32)


def load_detector(name: DetectorName, *, runtime: Runtime) -> GraphDetector:
    """Load a detector with the weights that the package holds.

    Args:
        name: Name of the detector.
        runtime: Engine and device that compute it.

    Raises:
        EngineError: The cache of compiled graphs can't be written.
        WeightsError: The weights don't fit.
    """
    code = ("detectors/efficientdet_net.py", "encoders/efficientnet_lite.py", "layers")
    return GraphDetector(runtime.graph(GraphSource(name, WEIGHTS_SHA256, _build_step, code)))


def weights_path() -> Path:
    """Return the file of the weights, which `lab.convert_efficientdet` made."""
    with resources.as_file(resources.files("promptseg.detectors") / "efficientdet-lite0.safetensors") as path:
        return path


@cache
def make_anchors() -> NDArray[np.float64]:
    """Compute the anchors of all cells: center y, center x, height, width in pixels, shape (19206, 4).

    Their order is map, row, column, size, aspect.
    """
    levels = []
    for side in GRIDS:
        stride = IMAGE_SIDE / side
        centers = (np.arange(side) + 0.5) * stride
        sizes = ANCHOR_SCALE * stride * 2 ** np.array(OCTAVES)[:, None]
        aspects = np.sqrt(ASPECTS)
        anchors = np.zeros((side, side, len(OCTAVES) * len(ASPECTS), 4))
        anchors[..., 0], anchors[..., 1] = centers[:, None, None], centers[:, None]
        anchors[..., 2], anchors[..., 3] = (sizes / aspects).ravel(), (sizes * aspects).ravel()
        levels.append(anchors.reshape(-1, 4))
    return np.concatenate(levels)


def decode_boxes(raw: Floats, anchors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Convert K raw boxes, shape (K, 4), to left, top, right, bottom in pixels; anchors: of the same shape."""
    centers = raw[:, :2] * anchors[:, 2:] + anchors[:, :2]
    half_sizes = np.exp(raw[:, 2:].astype(np.float64)) * anchors[:, 2:] / 2
    boxes: NDArray[np.float64] = np.concatenate([centers - half_sizes, centers + half_sizes], axis=1)
    return boxes[:, [1, 0, 3, 2]]


def _build_step() -> Step:
    import torch

    from promptseg.detectors.efficientdet_net import EfficientDetLite

    network = EfficientDetLite().eval()
    network.load_weights(weights_path())
    pixels = torch.zeros(1, 3, IMAGE_SIDE, IMAGE_SIDE)
    return Step(network, {"pixels": pixels}, {"pixels": ()}, ("scores", "raw_boxes", "anchor"))

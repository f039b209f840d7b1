"""A segmenter whose coarse masks a promptable masker sharpens."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg import weights
from promptseg.maskers.base import Frame, Masker, MaskerEmbedding
from promptseg.maskers.graph import GraphRunner
from promptseg.maskers.load import MaskerName, load_masker
from promptseg.maskers.refine import RefineSettings, refine
from promptseg.models.base import Features, Prediction, Segmenter
from promptseg.prompts import Query
from promptseg.weights import ReportProgress

PREFIX = "refiner."
FRAME = "refiner.frame"
# Who is surely absent is not worth the masker's time; its coarse map tells what was almost said.
LEAST_PRESENCE = 0.1
# Longest side of the picture as the masker sees it. Measured on pictures kept aside from training; docs/experiments.md.
INPUT_SIDE = 640
SETTINGS = RefineSettings(min_agreement=0.4, num_points=1)


def load_refiner(
    name: MaskerName, *, compiled: bool, offline: bool = False, progress: ReportProgress | None = None
) -> Masker:
    """Load the masker that a model's config names.

    Args:
        name: Of the masker.
        compiled: By OpenVINO, in bfloat16 where the CPU has it; else plain PyTorch on the CPU.
        offline: Fetch nothing.
        progress: Told while weights are fetched.

    Raises:
        WeightsError: The weights can't be had.
    """
    weights.resolve(name, offline=offline, progress=progress)
    # as many threads as the network itself takes
    runner = GraphRunner("openvino", precision="bf16", num_threads=torch.get_num_threads()) if compiled else None
    return load_masker(name, input_side=INPUT_SIDE, runner=runner, offline=offline)


class RefinedSegmenter:
    """Segment coarsely, then let a masker redraw every object that it agrees with.

    The picture is encoded by both when it is encoded, so that asking again costs neither.

    Args:
        segmenter: Makes the coarse masks.
        masker: Redraws them.
    """

    def __init__(self, segmenter: Segmenter, masker: Masker) -> None:
        self.segmenter = segmenter
        self.masker = masker
        self.settings = replace(SETTINGS, threshold=segmenter.mask_threshold)

    @property
    def prompt_kinds(self) -> frozenset[str]:
        """Kinds of prompt that the segmenter takes."""
        return self.segmenter.prompt_kinds

    @property
    def mask_threshold(self) -> float:
        """A pixel belongs to a mask from this probability on, coarse or refined."""
        return self.segmenter.mask_threshold

    @property
    def presence_threshold(self) -> float:
        """A query counts as found from this presence on."""
        return self.segmenter.presence_threshold

    def encode_image(self, image_rgb: np.ndarray) -> Features:
        """Encode a picture, uint8, shape (H, W, 3), for both."""
        embedding = self.masker.encode(image_rgb)
        return {
            **self.segmenter.encode_image(image_rgb),
            **{f"{PREFIX}{index}": feature for index, feature in enumerate(embedding.features)},
            FRAME: _pack_frame(embedding.frame),
        }

    @torch.inference_mode()
    def segment(self, features: Features, queries: Sequence[Query], size_hw: tuple[int, int]) -> Prediction:
        """Segment an encoded picture of the given original size; N queries give N masks, in order."""
        coarse = {name: value for name, value in features.items() if not name.startswith(PREFIX)}
        prediction = self.segmenter.segment(coarse, queries, size_hw)
        if not queries:
            return prediction
        levels = tuple(features[f"{PREFIX}{index}"] for index in range(len(features) - len(coarse) - 1))
        embedding = MaskerEmbedding(levels, _unpack_frame(features[FRAME]))
        # the masker does without a GPU, also where the network has one
        mask_logits = prediction.mask_logits.float().cpu()
        worthwhile = (prediction.presence >= LEAST_PRESENCE).cpu()[:, None, None]
        refined = refine(self.masker, embedding, mask_logits.sigmoid() * worthwhile, self.settings)
        unrefined = F.interpolate(mask_logits[None], refined.shape[-2:], mode="bilinear")[0]
        return replace(prediction, mask_logits=torch.where(worthwhile, refined, unrefined))


def _pack_frame(frame: Frame) -> Tensor:
    """Write a frame as numbers, shape (1, 6), to keep it with the features."""
    return torch.tensor([[*frame.original_hw, *frame.canvas_hw, *frame.scale_xy]], dtype=torch.float64)


def _unpack_frame(packed: Tensor) -> Frame:
    height, width, canvas_height, canvas_width, scale_x, scale_y = packed[0].tolist()
    return Frame((int(height), int(width)), (int(canvas_height), int(canvas_width)), (scale_x, scale_y))

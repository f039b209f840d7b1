"""A drop-in for lang-segment-anything: the same call, the same keys, shapes that never depend on what is found.

Source:
    The interface of luca-medeiros/lang-segment-anything (Apache-2.0) at 918043e for lists of images, and of its
    SAM 1 versions, at 38663b5, for one image; the code is ours.
    Differs: masks are bool, everything keeps its shape for 0, 1 and N objects, and a label is a phrase as it was given.
"""

import re
from collections.abc import Sequence
from typing import TypedDict, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from promptseg.detectors.base import Thresholds
from promptseg.errors import PromptError, UnknownModelError
from promptseg.images import read_image
from promptseg.language.lists import split_names
from promptseg.loading import load
from promptseg.models.grounded_sam.config import GroundedSamConfig
from promptseg.models.grounded_sam.segmenter import GroundedSegmenter
from promptseg.prompts import MAX_QUERIES, TextPrompt

# Its names of models that this package has under other names.
SAM_TYPES = {"vit_b": "sam-vit-base", "sam2_hiera_tiny": "sam2-hiera-tiny"}
# Sizes that only a directory gives.
_NEEDS_DIRECTORY = re.compile(r"vit_[lh]|sam2(\.1)?_hiera_\w+")


class Found(TypedDict):
    """The N objects found in one image, the best box first.

    Attributes:
        boxes: float32, shape (N, 4): left, top, right, bottom, pixels.
        scores: Of the boxes, float32, shape (N,).
        labels: The phrase each belongs to, N.
        masks: bool, shape (N, H, W).
        mask_scores: SAM's estimate of each mask's IoU, float32, shape (N,).
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: list[str]
    masks: NDArray[np.bool_]
    mask_scores: NDArray[np.float32]


FoundInOne = tuple[NDArray[np.bool_], NDArray[np.float32], list[str], NDArray[np.float32]]
"""Masks, boxes, labels and scores, in that order."""


class LangSAM:
    """Boxes and masks of all objects that a text names.

    Args:
        sam_type: A SAM of this package ("mobile-sam", "sam2-hiera-tiny", "sam-vit-base"), or lang-segment-anything's
            name for one.
        ckpt_path: A directory with transformers' SamModel or Sam2Model, instead of the published weights.
        device: "cpu", "cuda", ...; "auto" takes a GPU where there is one.
        detector: "promptseg" works offline; "grounding-dino-base" is lang-segment-anything's. See
            `GroundedSamConfig`.
        engine: See `promptseg.load`.
        offline: Fetch nothing.

    Raises:
        UnknownModelError: There is no such SAM or detector.
        CheckpointError: A directory holds none.
        WeightsError: Weights can't be fetched, or `offline` forbids it.
        EngineError: The device or the engine is not available here.
    """

    def __init__(
        self,
        sam_type: str = "mobile-sam",
        ckpt_path: str | None = None,
        device: str = "auto",
        *,
        detector: str = "promptseg",
        engine: str = "auto",
        offline: bool = False,
    ) -> None:
        if ckpt_path is None and sam_type not in SAM_TYPES and _NEEDS_DIRECTORY.fullmatch(sam_type):
            raise UnknownModelError(
                f"the weights of {sam_type} are on no package index: give a directory that transformers loads as "
                f"ckpt_path, or take one of mobile-sam, {', '.join(SAM_TYPES.values())}"
            )
        self.sam_type = sam_type
        config = GroundedSamConfig(detector=detector, masker=ckpt_path or SAM_TYPES.get(sam_type, sam_type))
        segmenter = load(config, device=device, engine=engine, offline=offline).segmenter
        assert isinstance(segmenter, GroundedSegmenter)  # of that config
        self.segmenter = segmenter

    @overload
    def predict(
        self, images_pil: Image.Image, texts_prompt: str, box_threshold: float = 0.3, text_threshold: float = 0.25
    ) -> FoundInOne: ...
    @overload
    def predict(
        self,
        images_pil: Sequence[Image.Image],
        texts_prompt: Sequence[str],
        box_threshold: float = 0.3,
        text_threshold: float = 0.25,
    ) -> list[Found]: ...
    def predict(
        self,
        images_pil: Image.Image | Sequence[Image.Image],
        texts_prompt: str | Sequence[str],
        box_threshold: float = 0.3,
        text_threshold: float = 0.25,
    ) -> FoundInOne | list[Found]:
        """Find the objects that texts name.

        Args:
            images_pil: Images, or one.
            texts_prompt: A text for each image. Commas and full stops separate phrases: "car, wheel", "car. wheel.".
            box_threshold: A box counts from this score on, in [0, 1].
            text_threshold: A word counts as seen from this score on; only GroundingDINO scores words.

        Returns:
            For a list of images, a `Found` each. For one image, masks, boxes, labels and scores.

        Raises:
            ImageError: An image can't be read.
            PromptError: A text names nothing, there are not as many texts as images, or a threshold is not in [0, 1].
        """
        thresholds = Thresholds(box_threshold, text_threshold)
        if isinstance(images_pil, Image.Image) != isinstance(texts_prompt, str):
            raise PromptError("give one image and one text, or a list of images and a text for each")
        if isinstance(images_pil, Image.Image):
            found = self._find(images_pil, split_phrases(str(texts_prompt)), thresholds)
            return found["masks"], found["boxes"], found["labels"], found["scores"]
        if len(images_pil) != len(texts_prompt):
            raise PromptError(f"{len(images_pil)} images but {len(texts_prompt)} texts: each image needs its own")
        requests = [(image, split_phrases(text)) for image, text in zip(images_pil, texts_prompt, strict=True)]
        return [self._find(image, phrases, thresholds) for image, phrases in requests]

    def _find(self, image: Image.Image, phrases: tuple[str, ...], thresholds: Thresholds) -> Found:
        image_rgb = read_image(image)
        height, width, _ = image_rgb.shape
        grounding = self.segmenter.ground(self.segmenter.encode_image(image_rgb), phrases, thresholds)
        detections = grounding.detections
        num_found = len(detections.scores)
        masks = np.zeros((num_found, height, width), dtype=np.bool_)
        for index, mask in enumerate(grounding.masks()):
            masks[index] = mask
        return Found(
            boxes=detections.boxes_xyxy,
            scores=detections.scores,
            labels=[phrases[index] for index in detections.phrase_index.tolist()],
            masks=masks,
            mask_scores=grounding.mask_scores,
        )


def split_phrases(text: str) -> tuple[str, ...]:
    """Split a text at commas and full stops outside of names and numbers; a phrase that comes twice counts once.

    Raises:
        PromptError: The text has no phrase, more than 1,000, or a malformed one.
    """
    phrases = tuple(dict.fromkeys(TextPrompt(part).text for part in split_names(text)))
    if not phrases:
        raise PromptError(f"the text {text!r} names nothing: write phrases between commas or full stops")
    if len(phrases) > MAX_QUERIES:
        raise PromptError(f"{len(phrases):,} phrases in one text; the limit is {MAX_QUERIES:,}: ask in parts")
    return phrases

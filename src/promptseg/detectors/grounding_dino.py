"""GroundingDINO through transformers, with one label a phrase.

Several phrases share one pass: "[CLS] red mug . the dog on the left . [SEP]". The network scores every box against
every token. Where others join the tokens above a threshold to a label of their own making ("red", "mug dog"), here the
phrase of each token is known from the start, and every box goes to one phrase as a whole.

Source:
    Liu et al. 2023, arXiv:2303.05499; IDEA-Research/GroundingDINO (Apache-2.0). Box and text threshold as in
    lang-segment-anything; the mean over a phrase's tokens decides between phrases, as in its COCO evaluation.
    Differs: a label is a phrase as it was given; the marks between phrases do not count.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import BertTokenizer, GroundingDinoForObjectDetection

from promptseg.detectors.base import Detections, Thresholds, collect, corners, take_array
from promptseg.detectors.pixels import normalize_unit, resize_rgb
from promptseg.encoders.tower_facts import IMAGENET_MEAN, IMAGENET_STD
from promptseg.errors import CheckpointError, PromptError
from promptseg.ops.resize import sigmoid
from promptseg.segmenter import Arrays

THRESHOLDS = Thresholds(box=0.3, text=0.25)  # the published demo's
SHORT_SIDE, LONG_SIDE = 800, 1333
PIXELS = "detector.pixels"
# Signs that end a phrase for the network; inside one they would cut it in two.
ENDS = (".", "?")


@dataclass(frozen=True, eq=False)
class ResizedImage:
    """An image at the network's size; no more, for the network reads image and words together.

    Attributes:
        size_hw: Of the image, pixels.
        pixels: Resized, uint8, shape (h, w, 3).
    """

    size_hw: tuple[int, int]
    pixels: NDArray[np.uint8]

    def to_arrays(self) -> Arrays:
        """Give the parts as named arrays."""
        return {PIXELS: self.pixels[None]}


@dataclass(frozen=True)
class Caption:
    """Phrases that share one pass.

    Attributes:
        token_ids: What the network reads.
        spans: For each phrase, its first token and the one after its last.
    """

    token_ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]


class GroundingDino:
    """A detector; see `detectors.base.Detector` for its methods.

    Phrases of one request share their pass and compete for boxes: "animal" beside "dog" loses the dogs.

    Args:
        model: transformers' GroundingDinoForObjectDetection, with its weights.
        tokenizer: BERT's, as transformers' BertTokenizer.
        short_side: What the image's shorter side becomes, pixels, unless
        long_side: the longer one would pass this.
    """

    thresholds = THRESHOLDS
    presence_threshold = THRESHOLDS.box  # a phrase is there when it has a box

    def __init__(self, model: Any, tokenizer: Any, *, short_side: int = SHORT_SIDE, long_side: int = LONG_SIDE) -> None:
        self.model = model
        model.train(mode=False).requires_grad_(False)
        self.tokenizer = tokenizer
        self.short_side = short_side
        self.long_side = long_side

    def encode_image(self, image_rgb: NDArray[np.uint8]) -> ResizedImage:
        """Resize an image, uint8 (H, W, 3)."""
        size_hw = (image_rgb.shape[0], image_rgb.shape[1])
        return ResizedImage(size_hw, resize_rgb(image_rgb, fit_size(size_hw, self.short_side, self.long_side)))

    def restore_image(self, arrays: Mapping[str, NDArray[Any]], image_rgb: NDArray[np.uint8]) -> ResizedImage:
        """Make the record again; arguments and errors as `detectors.base.Detector.restore_image`."""
        return ResizedImage((image_rgb.shape[0], image_rgb.shape[1]), take_array(arrays, PIXELS)[0])

    @torch.inference_mode()
    def detect(self, image: ResizedImage, phrases: Sequence[str], thresholds: Thresholds | None = None) -> Detections:
        """Detect phrases in an encoded image; arguments and errors as `detectors.base.Detector.detect`."""
        thresholds = thresholds or THRESHOLDS
        pixels = torch.from_numpy(normalize_unit(image.pixels, IMAGENET_MEAN, IMAGENET_STD)).to(self.model.device)
        height, width = image.size_hw
        found: list[tuple[NDArray[Any], ...]] = []
        peaks: list[NDArray[np.float32]] = []
        num_before = 0
        for caption in self._captions(phrases):
            token_ids = torch.tensor([caption.token_ids], device=self.model.device)
            output = self.model(
                pixel_values=pixels,
                input_ids=token_ids,
                token_type_ids=torch.zeros_like(token_ids),
                attention_mask=torch.ones_like(token_ids),
            )
            chosen = assign_phrases(output.logits[0].float().cpu().numpy(), caption.spans, thresholds)
            boxes = corners(output.pred_boxes[0].float().cpu().numpy()) * np.array([width, height, width, height])
            found.append((boxes[chosen.box_index], chosen.scores, chosen.phrase_index + num_before))
            peaks.append(chosen.peaks)
            num_before += len(caption.spans)
        boxes_xyxy, scores, phrase_index = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return collect(boxes_xyxy, scores, phrase_index, np.concatenate(peaks), image.size_hw)

    def _captions(self, phrases: Sequence[str]) -> Iterator[Caption]:
        """Pack phrases into as few passes as the network's text length allows."""
        start, end, separator = self.tokenizer.convert_tokens_to_ids(["[CLS]", "[SEP]", "."])
        cut = set(self.tokenizer.convert_tokens_to_ids(list(ENDS)))
        room = self.model.config.max_text_len - 2
        token_ids: list[int] = [start]
        spans: list[tuple[int, int]] = []
        for phrase in phrases:
            words = [word for word in self.tokenizer(phrase, add_special_tokens=False)["input_ids"] if word not in cut]
            if not 0 < len(words) < room:
                raise PromptError(
                    f"GroundingDINO reads {len(words)} word pieces in {phrase[:40]!r}; it takes 1 to {room - 1}"
                )
            if len(token_ids) - 1 + len(words) + 1 > room:
                yield Caption((*token_ids, end), tuple(spans))
                token_ids, spans = [start], []
            spans.append((len(token_ids), len(token_ids) + len(words)))
            token_ids += [*words, separator]
        yield Caption((*token_ids, end), tuple(spans))


@dataclass(frozen=True, eq=False)
class Assignment:
    """Which boxes of Q go to which of N phrases.

    Attributes:
        box_index: Shape (M,), each box once at the most.
        scores: Of the box for its phrase, shape (M,).
        phrase_index: Shape (M,).
        peaks: Best score of each phrase over all boxes, shape (N,).
    """

    box_index: NDArray[np.int64]
    scores: NDArray[np.float32]
    phrase_index: NDArray[np.int64]
    peaks: NDArray[np.float32]


def assign_phrases(
    token_logits: NDArray[np.float32], spans: Sequence[tuple[int, int]], thresholds: Thresholds
) -> Assignment:
    """Give every box that is sure enough to exactly one phrase.

    A box's score for a phrase is that of the phrase's best token. It is kept where that is above the box threshold,
    which is the published rule, and above the text threshold, below which others would leave the label empty. Among
    the phrases that pass, the one whose tokens score best on average gets the box: of "car" and "red car", a blue car
    goes to "car", for "red" is not seen.

    Args:
        token_logits: Shape (Q, T); -inf where there is no token.
        spans: First token of each phrase, and the one after its last.
        thresholds: For boxes and words.
    """
    tokens = sigmoid(token_logits)
    best = np.stack([tokens[:, first:last].max(axis=1) for first, last in spans], axis=1)
    mean = np.stack([tokens[:, first:last].mean(axis=1) for first, last in spans], axis=1)
    passes = best > max(thresholds.box, thresholds.text)
    box_index = np.flatnonzero(passes.any(axis=1))
    phrase_index = np.where(passes, mean, -1.0).argmax(axis=1)[box_index]
    return Assignment(box_index, best[box_index, phrase_index], phrase_index, best.max(axis=0))


def fit_size(size_hw: tuple[int, int], short_side: int = SHORT_SIDE, long_side: int = LONG_SIDE) -> tuple[int, int]:
    """Bring the shorter side to `short_side`, or the longer one to `long_side` where it would pass it; pixels."""
    scale = min(short_side / min(size_hw), long_side / max(size_hw))
    height, width = (max(1, round(side * scale)) for side in size_hw)
    return height, width


def load_grounding_dino(directory: Path, device: str) -> GroundingDino:
    """Load a directory of transformers' GroundingDinoForObjectDetection, with BERT's vocab.txt or tokenizer.json.

    Raises:
        CheckpointError: There is no such model in the directory.
    """
    try:
        model: Any = GroundingDinoForObjectDetection.from_pretrained(directory, local_files_only=True)
        tokenizer = BertTokenizer.from_pretrained(directory, local_files_only=True)
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{directory}: no GroundingDINO for transformers ({error})") from error
    return GroundingDino(model.to(device), tokenizer)

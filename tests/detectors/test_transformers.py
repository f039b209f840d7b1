"""GroundingDINO and OWLv2 on random weights: the numbers of transformers, one phrase a box."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BertTokenizer,
    CLIPTokenizer,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
)
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoObjectDetectionOutput
from transformers.models.grounding_dino.processing_grounding_dino import GroundingDinoProcessor
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

from promptseg.detectors.base import Thresholds, suppress_per_phrase
from promptseg.detectors.grounding_dino import GroundingDino, assign_phrases, fit_size, load_grounding_dino
from promptseg.detectors.load import load_detector
from promptseg.detectors.owlv2 import MAX_IOU, Owlv2, to_square
from promptseg.detectors.pixels import normalize_unit
from promptseg.encoders.base import IMAGENET_MEAN, IMAGENET_STD
from promptseg.errors import DataError, PromptError

CPU = "cpu"
SIZE_HW = (48, 64)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "red", "car", "cat", "dog", "the", "left", "##s"]


def image(height: int = 48, width: int = 64) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


# GroundingDINO


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    path = tmp_path_factory.mktemp("bert") / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n")
    return BertTokenizer(vocab=str(path))


@pytest.fixture(scope="module")
def dino(bert: BertTokenizer) -> GroundingDino:
    torch.manual_seed(0)
    config = GroundingDinoConfig(
        backbone_config={
            "model_type": "swin", "image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 1, 1],
            "num_heads": [1, 2, 4, 8], "window_size": 4, "out_indices": [2, 3, 4],
        },
        text_config={
            "model_type": "bert", "vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 16, "max_position_embeddings": 32,
        },
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
        encoder_ffn_dim=32, decoder_ffn_dim=32, num_queries=20, max_text_len=16,
    )  # fmt: skip
    return GroundingDino(GroundingDinoForObjectDetection(config), bert, short_side=128)


def captions(dino: GroundingDino, phrases: list[str]) -> list[tuple[list[str], list[list[str]]]]:
    """What the network reads, and the tokens of each phrase."""
    read = []
    for caption in dino._captions(phrases):
        tokens = dino.tokenizer.convert_ids_to_tokens(list(caption.token_ids))
        read.append((tokens, [tokens[first:last] for first, last in caption.spans]))
    return read


class TestGroundingDino:
    def test_phrases_keep_their_tokens_together(self, dino: GroundingDino) -> None:
        assert captions(dino, ["the red cars", "cat? dog."]) == [
            (
                ["[CLS]", "the", "red", "car", "##s", ".", "cat", "dog", ".", "[SEP]"],
                [["the", "red", "car", "##s"], ["cat", "dog"]],
            )
        ]

    def test_many_phrases_take_several_passes(self, dino: GroundingDino) -> None:
        read = captions(dino, ["red car"] * 6)
        assert [len(spans) for _, spans in read] == [4, 2]
        assert all(len(tokens) <= 16 for tokens, _ in read)

    def test_a_phrase_that_is_too_long_or_has_no_word_is_refused(self, dino: GroundingDino) -> None:
        with pytest.raises(PromptError, match=r"reads 14 word pieces in '.*'; it takes 1 to 13"):
            captions(dino, ["cat", "red car " * 7])
        with pytest.raises(PromptError, match="reads 0 word pieces"):
            captions(dino, ["?"])

    @pytest.mark.parametrize("phrases", [["red car"], ["red car", "the dog", "cat"]])
    @pytest.mark.parametrize("threshold", [0.3, 0.5])
    def test_boxes_and_scores_are_those_of_transformers(
        self, dino: GroundingDino, phrases: list[str], threshold: float
    ) -> None:
        """With one phrase exactly; with several, its label (the tokens it joined) holds our phrase's best token."""
        (caption,) = dino._captions(phrases)
        token_ids = torch.tensor([caption.token_ids])
        pixels = torch.from_numpy(normalize_unit(image(128, 160), IMAGENET_MEAN, IMAGENET_STD))
        with torch.inference_mode():
            output = dino.model(pixels, token_ids, torch.zeros_like(token_ids), torch.ones_like(token_ids))
        # random weights score everything alike: spread, and let the marks between phrases have no say in theirs either
        logits = (output.logits - output.logits[output.logits.isfinite()].mean()) * 40
        words = torch.zeros(logits.shape[-1], dtype=torch.bool)
        for first, last in caption.spans:
            words[first:last] = True
        logits[..., ~words] = -torch.inf
        processor = GroundingDinoProcessor(GroundingDinoImageProcessorPil(), dino.tokenizer)
        (theirs,) = processor.post_process_grounded_object_detection(
            GroundingDinoObjectDetectionOutput(logits=logits, pred_boxes=output.pred_boxes),
            token_ids, threshold=threshold, text_threshold=threshold, target_sizes=[SIZE_HW],
        )  # fmt: skip
        ours = assign_phrases(logits[0].numpy(), caption.spans, Thresholds(threshold, threshold))
        assert 0 < len(ours.box_index) < 20, "the threshold parts them"
        kept = (logits[0].sigmoid().amax(1) > threshold).nonzero()[:, 0]
        assert ours.box_index.tolist() == kept.tolist() and len(theirs["scores"]) == len(kept)
        for score, phrase_index, their_score, label in zip(
            ours.scores, ours.phrase_index, theirs["scores"], theirs["text_labels"], strict=True
        ):
            assert score <= their_score + 1e-6
            assert len(phrases) > 1 or score == pytest.approx(float(their_score), abs=1e-6)
            assert set(phrases[phrase_index].split()) & set(label.split())

    def test_detecting_is_a_pass_and_the_assignment(self, dino: GroundingDino) -> None:
        encoded = dino.encode_image(image())
        found = dino.detect(encoded, ["red car", "cat"], Thresholds(0.0, 0.0))
        assert set(found.phrase_index.tolist()) <= {0, 1} and len(found.peaks) == 2
        assert len(found.boxes_xyxy) <= 20, "every box once"
        assert (found.boxes_xyxy >= 0).all() and (found.boxes_xyxy <= [64, 48, 64, 48]).all()
        assert all(a >= b for a, b in pairwise(found.scores.tolist()))
        for index in (0, 1):
            mine = found.scores[found.phrase_index == index]
            assert mine.size == 0 or mine.max() <= found.peaks[index] + 1e-6
        assert len(dino.detect(encoded, ["cat"], Thresholds(1.0)).scores) == 0

    def test_arrays_make_the_image_again(self, dino: GroundingDino) -> None:
        encoded = dino.encode_image(image())
        again = dino.restore_image(encoded.to_arrays(), image())
        assert again.size_hw == encoded.size_hw
        np.testing.assert_array_equal(again.pixels, encoded.pixels)
        with pytest.raises(DataError, match=r"detector\.pixels is missing; encode the image again"):
            dino.restore_image({}, image())

    def test_a_directory_gives_the_same_model(self, dino: GroundingDino, tmp_path: Path) -> None:
        dino.model.save_pretrained(tmp_path)
        (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
        loaded = load_grounding_dino(tmp_path, CPU)
        assert (loaded.short_side, loaded.long_side) == (800, 1333)
        encoded = dino.encode_image(image())
        expected, found = (one.detect(encoded, ["cat"], Thresholds(0.0, 0.0)) for one in (dino, loaded))
        np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, rtol=1e-5)


class TestAssignment:
    def assign(self, rows: list[list[float]], text: float = 0.25) -> list[tuple[int, int]]:
        """Of "car" (token 0) and "red car" (tokens 1, 2): which box goes to which."""
        found = assign_phrases(torch.tensor(rows).logit().numpy(), [(0, 1), (1, 3)], Thresholds(0.3, text))
        return list(zip(found.box_index.tolist(), found.phrase_index.tolist(), strict=True))

    def test_a_box_goes_to_one_phrase_as_a_whole(self) -> None:
        blue_car, red_car, nothing = [0.7, 0.1, 0.75], [0.6, 0.7, 0.8], [0.2, 0.29, 0.1]
        assert self.assign([blue_car, red_car, nothing]) == [(0, 0), (1, 1)]

    def test_only_phrases_that_pass_get_boxes(self) -> None:
        assert self.assign([[0.29, 0.35, 0.01]]) == [(0, 1)]

    def test_without_a_word_that_is_seen_there_is_no_box(self) -> None:
        assert self.assign([[0.4, 0.1, 0.1]], text=0.5) == []

    def test_peaks_ignore_the_thresholds(self) -> None:
        found = assign_phrases(
            torch.tensor([[0.1, 0.2, 0.15], [0.05, 0.1, 0.1]]).logit().numpy(), [(0, 1), (1, 3)], Thresholds(1)
        )
        np.testing.assert_allclose(found.peaks, [0.1, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("size_hw", "expected"), [((480, 640), (800, 1067)), ((300, 1000), (400, 1333)), ((2000, 1000), (1333, 666))]
)
def test_images_are_brought_to_the_trained_size(size_hw: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_size(size_hw) == pytest.approx(expected, abs=1)


# OWLv2


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> CLIPTokenizer:
    directory = tmp_path_factory.mktemp("clip")
    letters = list("abcdefghijklmnopqrstuvwxyz")
    tokens = ["!", *letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (directory / "vocab.json").write_text(str({token: index for index, token in enumerate(tokens)}).replace("'", '"'))
    (directory / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(vocab=str(directory / "vocab.json"), merges=str(directory / "merges.txt"))


@pytest.fixture(scope="module")
def owl(clip: CLIPTokenizer) -> Owlv2:
    torch.manual_seed(0)
    start, end = clip.convert_tokens_to_ids(["<|startoftext|>", "<|endoftext|>"])
    config = Owlv2Config(
        text_config={
            "vocab_size": len(clip), "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 16, "bos_token_id": start, "eos_token_id": end,
        },
        vision_config={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "image_size": 48, "patch_size": 8,
        },
        projection_dim=16,
    )  # fmt: skip
    return Owlv2(Owlv2ForObjectDetection(config), clip)


class TestOwlv2:
    def test_parts_make_the_whole_and_its_boxes_are_transformers(self, owl: Owlv2) -> None:
        phrases = ["cat", "a dog", "xyz"]
        encoded = owl.encode_image(image())
        logits = owl.phrase_logits(torch.from_numpy(encoded.patches), phrases)
        rows = [owl.tokenizer(phrase)["input_ids"] for phrase in phrases]
        token_ids = torch.tensor([ids + [0] * (16 - len(ids)) for ids in rows])
        mask = torch.tensor([[1] * len(ids) + [0] * (16 - len(ids)) for ids in rows])
        with torch.inference_mode():
            whole = owl.model(
                input_ids=token_ids, pixel_values=torch.from_numpy(to_square(image(), 48)), attention_mask=mask
            )
        torch.testing.assert_close(logits, whole.logits, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(encoded.boxes, whole.pred_boxes.numpy(), rtol=1e-5, atol=1e-5)

        threshold = float(logits.sigmoid().amax(2).median())
        (theirs,) = Owlv2ImageProcessorPil().post_process_object_detection(whole, threshold, [SIZE_HW])
        boxes, scores, labels = (theirs[name].numpy() for name in ("boxes", "scores", "labels"))
        stay = suppress_per_phrase(boxes, scores, labels, MAX_IOU)
        ours = owl.detect(encoded, phrases, Thresholds(threshold))
        expected = boxes[stay].clip(0, [64, 48, 64, 48])
        wide = (expected[:, 2] - expected[:, 0] >= 1) & (expected[:, 3] - expected[:, 1] >= 1)
        np.testing.assert_allclose(ours.boxes_xyxy, expected[wide], rtol=1e-4, atol=1e-2)
        np.testing.assert_allclose(ours.scores, scores[stay][wide], rtol=1e-4, atol=1e-5)
        assert ours.phrase_index.tolist() == labels[stay][wide].tolist()
        assert 0 < len(ours.scores) <= 36

    def test_arrays_make_the_image_again(self, owl: Owlv2) -> None:
        encoded = owl.encode_image(image())
        again = owl.restore_image(encoded.to_arrays(), image())
        expected, found = (owl.detect(each, ["cat"], Thresholds(0.0)) for each in (encoded, again))
        np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)

    def test_a_phrase_that_is_too_long_is_refused(self, owl: Owlv2) -> None:
        encoded = owl.encode_image(image())
        with pytest.raises(PromptError, match="OWLv2 reads 26 word pieces in 'abcdefgh"):
            owl.detect(encoded, ["cat", "abcdefghijklmnopqrstuvwxyz"])

    def test_a_directory_is_found_by_its_config(self, owl: Owlv2, tmp_path: Path) -> None:
        owl.model.save_pretrained(tmp_path)
        owl.tokenizer.save_pretrained(tmp_path)
        loaded = load_detector(tmp_path, device=CPU)
        encoded = owl.encode_image(image())
        expected, found = (one.detect(encoded, ["cat"], Thresholds(0.0)) for one in (owl, loaded))
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-5)

"""Text towers: tokens, pooling, cutting, and the same numbers as transformers."""

import logging

import pytest
import torch

from promptseg import weights
from promptseg.encoders.base import TextFeatures, TextTower
from promptseg.encoders.clip_text import ClipText
from promptseg.encoders.minilm import MiniLM
from promptseg.encoders.tiny import TinyText
from promptseg.encoders.towers import build_text_tower
from promptseg.errors import UnknownModelError, WeightsError

TEXTS = ["a cat", "the small black kitten on the left", "grass"]


def encode(tower: TextTower, texts: list[str]) -> TextFeatures:
    with torch.no_grad():
        features: TextFeatures = tower(*tower.tokenize(texts))
    return features


def check_contract(tower: TextTower) -> None:
    """Pooled vectors have length 1; a text's numbers don't depend on its neighbors; order follows the texts."""
    together = encode(tower, TEXTS)
    assert together.pooled.shape == (3, tower.dim)
    assert together.tokens.shape == (*together.token_mask.shape, tower.token_dim)
    torch.testing.assert_close(together.pooled.norm(dim=1), torch.ones(3))
    for index, text in enumerate(TEXTS):
        alone = encode(tower, [text])
        length = alone.token_mask.shape[1]
        assert together.token_mask[index].sum() == alone.token_mask.sum() == length
        torch.testing.assert_close(alone.pooled[0], together.pooled[index], atol=1e-5, rtol=0)
        torch.testing.assert_close(alone.tokens[0], together.tokens[index, :length], atol=1e-4, rtol=0)
    backwards = encode(tower, TEXTS[::-1])
    torch.testing.assert_close(backwards.pooled.flip(0), together.pooled, atol=1e-5, rtol=0)


def test_tiny_text_keeps_the_contract() -> None:
    check_contract(build_text_tower("bytes-test"))


def test_tiny_text_takes_what_people_type() -> None:
    features = encode(TinyText(), ["", "🐈", "long " * 1000])
    assert torch.isfinite(features.pooled).all()
    assert features.token_mask.sum(dim=1).tolist() == [1, 4, 48]


@pytest.mark.weights
def test_minilm_keeps_the_contract_and_knows_words(caplog: pytest.LogCaptureFixture) -> None:
    tower = MiniLM().eval()
    tower.load_weights(weights.resolve("minilm-l6"))
    check_contract(tower)
    token_ids, token_mask = tower.tokenize(["a photo of a cat"])
    assert token_ids.tolist() == [[101, 1037, 6302, 1997, 1037, 4937, 102]]
    assert token_mask.all()
    cat, kitten, bus = encode(tower, ["a cat", "a kitten", "a bus"]).pooled
    assert cat @ kitten > 0.7 > 0.5 > cat @ bus
    with caplog.at_level(logging.WARNING):
        token_ids, _ = tower.tokenize(["cat " * 200])
    assert token_ids.shape == (1, tower.max_tokens)
    assert token_ids[0, -1] == 102  # a cut text still ends with its end token
    assert f"cut to its first {tower.max_tokens} tokens: cat cat" in caplog.text


@pytest.mark.weights
def test_clip_tokenizes_as_published(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    tower = ClipText().eval()
    tower.load_tokenizer(weights.resolve("clip-tokenizer"))
    token_ids, token_mask = tower.tokenize(["a photo of a cat", "grass"])
    assert token_ids[0].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert token_mask.sum(dim=1).tolist() == [7, 3]
    check_contract(tower)
    with caplog.at_level(logging.WARNING):
        token_ids, _ = tower.tokenize(["cat " * 200])
    assert token_ids.shape == (1, 77)
    assert token_ids[0, -1] == 49407
    assert "cut to its first 77 tokens" in caplog.text


def test_clip_pools_at_the_first_end_token_whatever_the_padding() -> None:
    torch.manual_seed(0)
    tower = ClipText().eval()
    token_ids = torch.tensor([[49406, 320, 2368, 49407], [49406, 2368, 49407, 49407]])
    token_mask = torch.tensor([[True, True, True, True], [True, True, True, False]])
    with torch.no_grad():
        pooled = tower(token_ids, token_mask).pooled
        for row, length in enumerate((4, 3)):
            alone = tower.clip(input_ids=token_ids[row : row + 1, :length]).text_embeds
            torch.testing.assert_close(pooled[row], torch.nn.functional.normalize(alone[0], dim=0), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("tower", "name"), [("minilm-l6", "MiniLM"), ("clip-vit-base-patch16", "ClipText")])
def test_tower_without_its_vocabulary_says_what_to_load(tower: str, name: str) -> None:
    with torch.device("meta"):
        built = build_text_tower(tower)
    with pytest.raises(WeightsError, match=f"{name} has no vocabulary yet: load its weights first"):
        built.tokenize(["a cat"])


def test_unknown_tower_names_the_near_ones() -> None:
    with pytest.raises(UnknownModelError, match="no text tower is named 'minilm'; similar names: minilm-l6"):
        build_text_tower("minilm")

"""Pixels against texts: the formulas, computed the slow and obvious way."""

import pytest
import torch
from torch import Tensor

import promptseg.layers.dense_text as dense_text
from promptseg.layers.dense_text import DenseTextHead, PriorEmbedding

TEXT_DIM, EMBEDDING_DIM, NUM_NAMES = 12, 8, 10


@pytest.fixture
def head() -> DenseTextHead:
    torch.manual_seed(0)
    head = DenseTextHead(
        pixel_dim=6, text_dim=TEXT_DIM, embedding_dim=EMBEDDING_DIM, hidden_dim=16, num_vocabulary=NUM_NAMES, near=0.6
    )
    with torch.no_grad():
        head.set_vocabulary(unit(NUM_NAMES, TEXT_DIM))
        head.bias.fill_(-1.0)
    return head


def unit(*shape: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def compete(head: DenseTextHead, pixels: Tensor, pooled: Tensor) -> Tensor:
    similarity = head.similarity(pixels, head.embed_texts(pooled))
    return head.competition(pixels, similarity, head.rivalry(pixels[None])[0], *head.find_near(pooled))


def test_embeddings_have_length_one(head: DenseTextHead) -> None:
    pixels = head.embed_pixels(torch.randn(2, 6, 3, 4))
    assert pixels.shape == (2, EMBEDDING_DIM, 3, 4)
    torch.testing.assert_close(pixels.norm(dim=1), torch.ones(2, 3, 4))
    torch.testing.assert_close(head.embed_texts(unit(5, TEXT_DIM)).norm(dim=1), torch.ones(5))


def test_similarity_is_a_scaled_cosine(head: DenseTextHead) -> None:
    pixels, texts = head.embed_pixels(torch.randn(1, 6, 3, 4))[0], head.embed_texts(unit(2, TEXT_DIM))
    expected = torch.stack([(text[:, None, None] * pixels).sum(0) for text in texts])
    torch.testing.assert_close(head.similarity(pixels, texts), head.log_scale.exp() * expected + head.bias)


def test_competition_is_the_share_among_all_names_but_the_near_ones(head: DenseTextHead) -> None:
    pixels = head.embed_pixels(torch.randn(1, 6, 3, 4))[0]
    # the first text is near name 3, the second near none
    pooled = torch.stack(
        [torch.nn.functional.normalize(head.vocabulary[3] + 0.1 * unit(TEXT_DIM), dim=0), unit(TEXT_DIM)]
    )
    competes = pooled @ head.vocabulary.T < head.near
    assert not competes[0, 3] and competes[1].all()
    expected = []
    for text, rivals in zip(head.embed_texts(pooled), competes, strict=True):
        own = head.log_scale.exp() * torch.einsum("e,ehw->hw", text, pixels) + head.bias
        others = head.log_scale.exp() * torch.einsum("ve,ehw->vhw", head.names[rivals], pixels) + head.bias
        expected.append((own.exp() / (own.exp() + others.exp().sum(0))).log())
    torch.testing.assert_close(compete(head, pixels, pooled), torch.stack(expected), atol=1e-4, rtol=1e-4)


def test_a_text_whose_only_rivals_are_near_has_won(head: DenseTextHead) -> None:
    head.near = -1.0  # every name is near every text
    pixels = head.embed_pixels(torch.randn(1, 6, 3, 4))[0]
    won = compete(head, pixels, unit(2, TEXT_DIM))
    assert torch.isfinite(won).all()
    head.near = 1.1  # none is
    assert (compete(head, pixels, unit(2, TEXT_DIM)) < won.min()).any()


def test_chunks_of_cells_change_nothing(head: DenseTextHead, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = head.embed_pixels(torch.randn(2, 6, 5, 7))
    whole = head.rivalry(pixels)
    monkeypatch.setattr(dense_text, "PIXEL_CHUNK", 4)
    torch.testing.assert_close(head.rivalry(pixels), whole)
    logits = head.log_scale.exp() * torch.einsum("ve,behw->bvhw", head.names, pixels) + head.bias
    torch.testing.assert_close(whole, logits.exp().sum(1).log(), atol=1e-5, rtol=1e-5)


def test_mask_weighs_both_maps(head: DenseTextHead) -> None:
    similarity, competition = torch.randn(2, 2, 3, 4)
    torch.testing.assert_close(head.mask_logits(similarity, competition), similarity)  # at the start
    with torch.no_grad():
        head.mask_weights.copy_(torch.tensor([2.0, 3.0, 0.5]))
    torch.testing.assert_close(head.mask_logits(similarity, competition), 2 * similarity + 3 * competition + 0.5)


def test_judgement_of_a_text_does_not_depend_on_others(head: DenseTextHead) -> None:
    similarity, competition = torch.randn(2, 3, 9, 10)
    presence_logit, iou = head.judge(similarity, competition)
    assert presence_logit.shape == iou.shape == (3,)
    alone, _ = head.judge(similarity[1:2], competition[1:2])
    torch.testing.assert_close(alone, presence_logit[1:2])


def test_summaries_are_maximum_mean_of_the_highest_and_mean() -> None:
    maps = torch.arange(2 * 128, dtype=torch.float32).view(2, 8, 16)
    expected = torch.tensor([[127.0, 126.5, 63.5], [255.0, 254.5, 191.5]])
    torch.testing.assert_close(dense_text._summarise(maps), expected)


@pytest.mark.parametrize("size_hw", [(4, 6), (32, 48)])
def test_prior_starts_at_zero_and_fits_any_map(size_hw: tuple[int, int]) -> None:
    prior = PriorEmbedding(16)
    similarity, competition = torch.randn(2, 3, *size_hw)
    cells = prior(similarity, competition, (5, 7))
    assert cells.shape == (3, 16, 5, 7)
    assert not cells.any()
    torch.nn.init.normal_(prior.conv3.weight)
    assert prior(similarity, competition, (5, 7)).any()

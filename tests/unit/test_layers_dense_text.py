"""Pixels against texts and a vocabulary: numbers of the formula itself, and what must not depend on order or chunks."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg.layers import dense_text
from promptseg.layers.dense_text import DenseTextHead

NUM_NAMES = 7


@pytest.fixture
def head() -> DenseTextHead:
    torch.manual_seed(0)
    head = DenseTextHead(pixel_dim=6, text_dim=5, embedding_dim=8, hidden_dim=12, num_vocabulary=NUM_NAMES, near=0.6)
    with torch.no_grad():
        head.log_scale.fill_(1.5)
        head.bias.fill_(-1.0)
        head.mask_weights.copy_(torch.tensor([0.7, 0.4, -0.2]))
        head.set_vocabulary(F.normalize(torch.randn(NUM_NAMES, 5), dim=1))
    return head.eval()


@pytest.fixture
def pooled(head: DenseTextHead) -> Tensor:
    """Three texts: one is a name of the vocabulary, one lies between two names, one is its own."""
    between = head.vocabulary[2] + head.vocabulary[4]
    return F.normalize(torch.stack([head.vocabulary[1], between, torch.randn(5)]), dim=1)


@torch.no_grad()
def compete(head: DenseTextHead, maps: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
    """Similarity and competition of texts on one picture."""
    pixels = head.embed_pixels(maps[None])
    similarity = head.similarity(pixels[0], head.embed_texts(pooled))
    return similarity, head.competition(pixels[0], similarity, head.rivalry(pixels)[0], *head.find_near(pooled))


@torch.no_grad()
def test_competition_is_the_formula(head: DenseTextHead, pooled: Tensor) -> None:
    maps = torch.randn(6, 3, 4)
    similarity, competition = compete(head, maps, pooled)
    texts, cosines = head.embed_texts(pooled), pooled @ head.vocabulary.T
    pixels = F.normalize(
        F.conv2d(maps[None], head.pixel_projection.weight[:, :, None, None], head.pixel_projection.bias)
    )[0]
    assert (cosines >= 0.6).any() and not (cosines >= 0.6).all(), "some names are near, some are not"
    for text in range(3):
        for y in range(3):
            for x in range(4):
                own = math.exp(1.5) * (texts[text] @ pixels[:, y, x]).item() - 1.0
                rivals = sum(
                    math.exp(math.exp(1.5) * (head.names[name] @ pixels[:, y, x]).item() - 1.0)
                    for name in range(NUM_NAMES)
                    if cosines[text, name] < 0.6
                )
                assert similarity[text, y, x].item() == pytest.approx(own, abs=1e-4)
                expected = math.log(math.exp(own) / (math.exp(own) + rivals))
                assert competition[text, y, x].item() == pytest.approx(expected, abs=1e-3)


def test_near_names_leave_their_text_alone(head: DenseTextHead, pooled: Tensor) -> None:
    names, is_near = head.find_near(pooled)
    assert names.shape == (3, NUM_NAMES, 8) and is_near.shape == (3, NUM_NAMES)
    assert is_near[0, 0] and torch.equal(names[0, 0], head.names[1]), "a name is nearest to itself"
    cosines = (pooled @ head.vocabulary.T).sort(dim=1, descending=True).values
    assert torch.equal(is_near, cosines >= 0.6)


def test_text_wins_where_every_name_means_the_same(head: DenseTextHead) -> None:
    head.near = -1.0
    similarity, competition = compete(head, torch.randn(6, 3, 4), F.normalize(torch.randn(2, 5), dim=1))
    assert competition.isfinite().all() and (competition > -1e-2).all() and similarity.isfinite().all()


def test_texts_do_not_depend_on_each_other(head: DenseTextHead, pooled: Tensor) -> None:
    maps, order = torch.randn(6, 3, 4), torch.tensor([2, 0, 1])
    together, permuted = compete(head, maps, pooled), compete(head, maps, pooled[order])
    alone = [compete(head, maps, one[None]) for one in pooled]
    for which in (0, 1):
        torch.testing.assert_close(permuted[which], together[which][order])
        torch.testing.assert_close(torch.cat([one[which] for one in alone]), together[which])


@torch.no_grad()
def test_rivalry_is_the_same_in_chunks(head: DenseTextHead, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = head.embed_pixels(torch.randn(2, 6, 5, 7))
    whole = head.rivalry(pixels)
    assert whole.shape == (2, 5, 7)
    monkeypatch.setattr(dense_text, "PIXEL_CHUNK", 4)
    torch.testing.assert_close(head.rivalry(pixels), whole)
    scores = math.exp(1.5) * torch.einsum("ve,behw->bvhw", head.names, pixels) - 1.0
    torch.testing.assert_close(whole, scores.exp().sum(1).log())


@torch.no_grad()
def test_rivalry_holds_a_chunk_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The maps of all names at once would be 3000 x 64 x 64 x 4 bytes, 47 MiB."""
    head = DenseTextHead(pixel_dim=4, text_dim=4, embedding_dim=8, hidden_dim=4, num_vocabulary=3000, near=0.9)
    monkeypatch.setattr(dense_text, "PIXEL_CHUNK", 256)
    largest = 0
    logsumexp = torch.logsumexp

    def watch(logits: Tensor, dim: int) -> Tensor:
        nonlocal largest
        largest = max(largest, logits.numel())
        return logsumexp(logits, dim)

    monkeypatch.setattr(torch, "logsumexp", watch)
    head.rivalry(F.normalize(torch.randn(1, 8, 64, 64), dim=1))
    assert largest == 3000 * 256


@torch.no_grad()
def test_unit_vectors_and_weights_of_the_mask(head: DenseTextHead, pooled: Tensor) -> None:
    torch.testing.assert_close(head.embed_pixels(torch.randn(2, 6, 3, 4)).norm(dim=1), torch.ones(2, 3, 4))
    torch.testing.assert_close(head.embed_texts(pooled).norm(dim=1), torch.ones(3))
    similarity, competition = compete(head, torch.randn(6, 3, 4), pooled)
    torch.testing.assert_close(head.mask_logits(similarity, competition), 0.7 * similarity + 0.4 * competition - 0.2)


@torch.no_grad()
def test_judgement_reads_what_is_loud_and_not_where(head: DenseTextHead) -> None:
    similarity, competition = torch.randn(2, 16, 8), -torch.rand(2, 16, 8)
    presence, iou = head.judge(similarity, competition)
    assert presence.shape == iou.shape == (2,)
    flipped, _ = head.judge(similarity.flip(1, 2), competition.flip(1, 2))
    torch.testing.assert_close(flipped, presence)
    summaries = [
        [maps[row].max(), maps[row].flatten().sort(descending=True).values[:2].mean(), maps[row].mean()]
        for row in (0, 1)
        for maps in (similarity, competition)
    ]
    expected = head.evidence(torch.tensor(summaries).reshape(2, 6))
    torch.testing.assert_close(torch.stack([presence, iou], dim=1), expected)


def test_a_low_peak_lowers_the_threshold_of_its_own_text_only() -> None:
    head = DenseTextHead(
        pixel_dim=4, text_dim=4, embedding_dim=4, hidden_dim=4, num_vocabulary=0, near=0.85, peak_margin=2.0
    )
    similarity = torch.linspace(0.0, 1.0, 64).reshape(1, 8, 8) * torch.tensor([9.0, 9.0])[:, None, None]
    similarity[1] -= 12.0  # peaks at -3: its mask reaches down to -5
    logits = head.mask_logits(similarity, torch.zeros_like(similarity))
    torch.testing.assert_close(logits[0], similarity[0])
    torch.testing.assert_close(logits[1], similarity[1] + 5.0)

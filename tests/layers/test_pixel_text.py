"""Pixels against texts: numbers of the formula itself, and what must not depend on order."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from promptseg.layers.pixel_text import PixelTextHead


@pytest.fixture
def head() -> PixelTextHead:
    torch.manual_seed(0)
    head = PixelTextHead(pixel_dim=6, text_dim=5, embedding_dim=8, hidden_dim=12)
    with torch.no_grad():
        head.log_scale.fill_(1.5)
        head.bias.fill_(-1.0)
        head.mask_shift.fill_(-0.2)
    return head.eval()


@pytest.fixture
def pooled() -> Tensor:
    return F.normalize(torch.randn(3, 5, generator=torch.Generator().manual_seed(1)), dim=1)


@torch.no_grad()
def compare(head: PixelTextHead, maps: Tensor, pooled: Tensor) -> Tensor:
    """Similarity of texts on one image."""
    return head.similarity(head.embed_pixels(maps[None])[0], head.embed_texts(pooled))


@torch.no_grad()
def test_similarity_is_the_formula(head: PixelTextHead, pooled: Tensor) -> None:
    maps = torch.randn(6, 3, 4)
    similarity = compare(head, maps, pooled)
    texts = head.embed_texts(pooled)
    weight, bias = head.pixel_projection.weight[:, :, None, None], head.pixel_projection.bias
    pixels = F.normalize(F.conv2d(maps[None], weight, bias))[0]
    for text in range(3):
        for y in range(3):
            for x in range(4):
                expected = math.exp(1.5) * (texts[text] @ pixels[:, y, x]).item() - 1.0
                assert similarity[text, y, x].item() == pytest.approx(expected, abs=1e-4)


def test_texts_do_not_depend_on_each_other(head: PixelTextHead, pooled: Tensor) -> None:
    maps, order = torch.randn(6, 3, 4), torch.tensor([2, 0, 1])
    together = compare(head, maps, pooled)
    torch.testing.assert_close(compare(head, maps, pooled[order]), together[order])
    torch.testing.assert_close(torch.cat([compare(head, maps, one[None]) for one in pooled]), together)


@torch.no_grad()
def test_unit_vectors_and_the_shift_of_the_mask(head: PixelTextHead, pooled: Tensor) -> None:
    torch.testing.assert_close(head.embed_pixels(torch.randn(2, 6, 3, 4)).norm(dim=1), torch.ones(2, 3, 4))
    torch.testing.assert_close(head.embed_texts(pooled).norm(dim=1), torch.ones(3))
    similarity = compare(head, torch.randn(6, 3, 4), pooled)
    torch.testing.assert_close(head.mask_logits(similarity), similarity - 0.2)


@torch.no_grad()
def test_presence_depends_on_values_and_not_on_places(head: PixelTextHead) -> None:
    similarity = torch.randn(2, 16, 8)
    presence, iou = head.presence(similarity)
    assert presence.shape == iou.shape == (2,)
    flipped, _ = head.presence(similarity.flip(1, 2))
    torch.testing.assert_close(flipped, presence)
    summaries = [[one.max(), one.flatten().sort(descending=True).values[:2].mean(), one.mean()] for one in similarity]
    torch.testing.assert_close(torch.stack([presence, iou], dim=1), head.evidence(torch.tensor(summaries)))


def test_a_low_peak_lowers_the_threshold_of_its_own_text_only() -> None:
    head = PixelTextHead(pixel_dim=4, text_dim=4, embedding_dim=4, hidden_dim=4, peak_margin=2.0)
    similarity = torch.linspace(0.0, 1.0, 64).reshape(1, 8, 8) * torch.tensor([9.0, 9.0])[:, None, None]
    similarity[1] -= 12.0  # peaks at -3: its mask reaches down to -5
    logits = head.mask_logits(similarity)
    torch.testing.assert_close(logits[0], similarity[0])
    torch.testing.assert_close(logits[1], similarity[1] + 5.0)

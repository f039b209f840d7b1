"""The second stage: pairs of regions and names, the surest of them, and an adapter that moves towards them."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from promptseg.data.image_text import ImageTexts, find_image_texts
from promptseg.errors import DataError, RecipeError
from promptseg.models.build import build_seeded
from promptseg.models.registry import find_row
from promptseg.models.uniovseg.config import UniOvSegConfig
from promptseg.models.uniovseg.network import UniOvSeg
from promptseg.train.unpaired.alignment import AlignObjective, AlignSettings, ConfidentPairs, assign, keep_surest
from promptseg.train.unpaired.text_batches import TextBatch, TextSource

TINY = find_row("uniovseg-test").config
assert isinstance(TINY, UniOvSegConfig)
SETTINGS = AlignSettings(
    input_sizes=(32, 64), confident_share=1.0, points_per_side=4, min_score=0.3, templates=("a photo of a {}.", "{}")
)
NAMES = ("cat", "dog", "lamp", "sofa")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageTexts:
    root = tmp_path_factory.mktemp("pairs")
    lines = []
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{index}.png")
        lines.append(f"A {NAMES[index]} and a {NAMES[(index + 1) % 4]}.\t{index}.png")
    (root / "pairs.tsv").write_text("\n".join(lines))
    return find_image_texts(root)


def batch(images: Sequence, **options: object) -> TextBatch:
    source = TextSource(images, side=64, **options)  # type: ignore[arg-type]
    return source.collate([source.item(index, np.random.default_rng(index)) for index in range(3)])


def build() -> UniOvSeg:
    network = build_seeded(TINY).train()
    assert isinstance(network, UniOvSeg)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith("adapter."))
    return network


def test_pairs_are_the_cheapest_one_to_one() -> None:
    costs = np.random.default_rng(0).random((5, 3))
    pairs = assign(costs)
    cheapest = min(permutations(range(5), 3), key=lambda regions: sum(costs[r, n] for n, r in enumerate(regions)))
    found = dict(zip(pairs.names.tolist(), pairs.regions.tolist(), strict=True))
    assert [found[name] for name in range(3)] == list(cheapest)
    np.testing.assert_array_equal(pairs.costs, costs[pairs.regions, pairs.names])
    assert len(assign(np.zeros((0, 3)))) == 0 and len(assign(np.zeros((2, 5)))) == 2


def test_the_surest_pairs_of_all_images_stay() -> None:
    pairs = [
        ConfidentPairs(np.arange(3), np.arange(3), np.array([0.9, 0.1, 0.5])),
        ConfidentPairs(np.arange(0), np.arange(0), np.zeros(0)),
        ConfidentPairs(np.array([7]), np.array([4]), np.array([0.2])),
    ]
    half = keep_surest(pairs, 0.5)
    assert [one.regions.tolist() for one in half] == [[1], [], [7]]
    assert [len(one) for one in keep_surest(pairs, 1.0)] == [3, 0, 1]
    assert [len(one) for one in keep_surest(pairs, 0.01)] == [1, 0, 0], "at least one"
    assert [len(one) for one in keep_surest(pairs[1:2], 0.5)] == [0]


def test_entities_come_from_captions_or_from_a_file(images: ImageTexts) -> None:
    assert batch(images).entities[:2] == (("cat", "dog"), ("dog", "lamp"))
    given = batch(images, entities={"0.png": ["a striped cat", "a striped cat", "rug"]})
    assert given.entities[:2] == (("a striped cat", "rug"), ("dog", "lamp"))
    assert given.shown_hw == ((48, 64),) * 3


def test_images_without_entities_are_skipped(images: ImageTexts) -> None:
    source = TextSource(images, side=64, entities={"0.png": []})
    assert source.item(0, np.random.default_rng(0)).sample_id == "1.png"
    nameless = images.with_captions({f"{index}.png": ["hello"] for index in range(4)})
    with pytest.raises(DataError, match=r"4 images in a row can't be used; the first: 0\.png: its captions name"):
        TextSource(nameless, side=64).item(0, np.random.default_rng(0))


def test_an_untrained_adapter_has_clips_own_cosine(images: ImageTexts) -> None:
    losses = AlignObjective(replace(SETTINGS, input_sizes=(64,)))(build(), batch(images))
    assert losses["pairs"] > 0
    torch.testing.assert_close(1.0 - losses["loss"], losses["clip_cosine"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("cost", ["cosine", "probability"])
def test_costs_are_averaged_over_scales(images: ImageTexts, cost: str) -> None:
    objective = AlignObjective(replace(SETTINGS, cost=cost))  # type: ignore[arg-type]
    vectors = [[torch.nn.functional.normalize(torch.randn(5, 24), dim=-1)] for _ in range(2)]
    names = [torch.nn.functional.normalize(torch.randn(3, 24), dim=-1)]
    scale = torch.tensor(10.0)
    (pairs,) = objective._pair(vectors, names, scale)
    cosines = torch.stack([own[0] @ names[0].T for own in vectors])
    costs = -cosines if cost == "cosine" else 1 - (10 * cosines).softmax(-1)
    expected = assign(costs.mean(0).double().numpy())
    assert pairs.regions.tolist() == expected.regions.tolist()
    np.testing.assert_allclose(pairs.costs, expected.costs, rtol=1e-5)


def test_the_adapter_alone_learns_and_moves_towards_the_names(images: ImageTexts) -> None:
    network, given, objective = build(), batch(images), AlignObjective(SETTINGS)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for _ in range(20):
        found = objective(network, given)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        losses.append(found["loss"].item())
    assert losses[-1] < 0.9 * losses[0]
    assert not any(p.grad is not None for n, p in network.named_parameters() if not n.startswith("adapter."))


def test_fewer_sure_pairs_are_fewer(images: ImageTexts) -> None:
    network, given = build(), batch(images)
    counts = [
        AlignObjective(replace(SETTINGS, confident_share=share))(network, given)["pairs"].item() for share in (1.0, 0.5)
    ]
    assert counts[1] == pytest.approx(counts[0] / 2, abs=1 / 3)


def test_a_batch_without_regions_has_no_loss_but_a_gradient(images: ImageTexts) -> None:
    network = build()
    losses = AlignObjective(replace(SETTINGS, min_score=1.0))(network, batch(images))
    losses["loss"].backward()
    assert losses["loss"].item() == 0.0 and losses["pairs"].item() == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in network.adapter.parameters())


def test_regions_lie_on_the_image_and_not_in_the_padding(images: ImageTexts, tmp_path: Path) -> None:
    network, given, objective = build(), batch(images), AlignObjective(SETTINGS)
    maps = network.encode_maps(torch.randn(3, 3, 64, 64))
    with torch.no_grad():
        regions = objective._find_regions(network, network.pixel_decoder(maps), given.shown_hw)
    assert all(len(own) > 0 for own in regions)
    assert not any((own[:, 12:] >= 0).any() for own in regions), "three quarters of 16 rows show the image"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_sizes": (1000,)}, r"input_sizes must be multiples of 32, not \(1000,\)"),
        ({"input_sizes": ()}, "input_sizes must be multiples of 32"),
        ({"confident_share": 0.0}, r"confident_share must lie in \(0, 1\], not 0.0"),
        ({"points_per_side": 0}, "points_per_side must be 1 or more, not 0"),
    ],
)
def test_settings_refuse_what_means_nothing(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        replace(SETTINGS, **changes)  # type: ignore[arg-type]

"""Uni-OVSeg's network: options of paper and code, gradients, checkpoints, regions in CLIP's space."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from promptseg.errors import CheckpointError
from promptseg.layers.position import FourierPositions, SinePositions
from promptseg.models.build import build_network, build_seeded
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.registry import find_row
from promptseg.models.uniovseg.config import RegionSettings, UniOvSegConfig
from promptseg.models.uniovseg.network import UniOvSeg

TINY = find_row("uniovseg-test").config
assert isinstance(TINY, UniOvSegConfig)
# as uniovseg-lite: any tower with the four strides, no names
NAMELESS = replace(TINY, image_tower="conv-test", text_tower=None)
BOXES = torch.tensor([[[0.2, 0.2, 0.3, 0.3], [0.6, 0.5, 0.7, 0.6]]])


def build(config: UniOvSegConfig = TINY) -> UniOvSeg:
    """The network with all weights random: some start at zero, and would hide what they do."""
    network = build_seeded(config).eval()
    assert isinstance(network, UniOvSeg)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad and not parameter.any():
                parameter.normal_(std=0.3, generator=generator)
    return network


def pixels() -> torch.Tensor:
    return torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def answer(network: UniOvSeg) -> tuple[torch.Tensor, ...]:
    """Masks and scores of points and boxes, and vectors of regions."""
    maps = network.encode_maps(pixels())
    seen = network.decode_pixels(maps)
    points, boxes = network.mask_points(seen, BOXES), network.mask_boxes(seen, BOXES)
    regions = network.embed_regions(network.region_features(maps), points.mask_logits().flatten(1, 2))
    return points.mask_logits(), boxes.mask_logits(), points.layers[-1].score_logits, regions


def test_the_row_is_the_published_network() -> None:
    config = find_row("uniovseg").config
    assert isinstance(config, UniOvSegConfig)
    with torch.device("meta"):
        network = UniOvSeg(config)
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    assert counts["pixel_decoder"] == 5_790_144
    assert counts["mask_decoder"] == 11_449_349 and counts["prompts"] == 2_816
    # rank 8 for each of the four maps, into the 1536 channels of the last
    assert counts["adapter"] == sum(8 * c + 8 + 8 * 1536 for c in (192, 384, 768, 1536))
    assert (config.image_size, config.decoder_layers, config.granularities) == (1024, 6, 4)
    assert (config.settings.points_per_side, config.settings.points_per_call) == (20, 100)
    assert (config.settings.max_iou, config.settings.max_inside_share) == (0.5, 0.7)
    # the published code keeps what is at least .65 after a second sigmoid
    assert torch.tensor(config.settings.min_score).sigmoid().item() == pytest.approx(0.65, abs=1e-3)
    assert len(config.settings.templates) == 14


@pytest.mark.parametrize(
    ("changes", "kind"), [({"positions": "fourier"}, FourierPositions), ({"positions": "sine"}, SinePositions)]
)
@torch.no_grad()
def test_positions_are_of_one_kind_everywhere_and_change_the_masks(changes: dict[str, str], kind: type) -> None:
    network = build(replace(TINY, **changes))
    parts = (network.pixel_decoder, network.prompts, network.mask_decoder)
    assert all(isinstance(part.positions, kind) for part in parts)
    if kind is FourierPositions:  # each draws frequencies of its own, unlike SAM's
        assert not torch.equal(parts[0].positions.positional_embedding, parts[1].positions.positional_embedding)
    masks = answer(network)[0]
    moved = network.mask_points(network.decode_pixels(network.encode_maps(pixels())), BOXES + 0.1).mask_logits()
    assert torch.isfinite(masks).all() and not torch.allclose(masks, moved, atol=1e-3)


@pytest.mark.parametrize(
    "changes", [{"norm": "group"}, {"decoder_layers": 3}, {"granularities": 2}, {"placed_features": True}]
)
@torch.no_grad()
def test_every_option_builds_a_network_of_its_own(changes: dict[str, object]) -> None:
    config = replace(TINY, **changes)  # type: ignore[arg-type]
    masks, boxes, scores, _ = answer(build(config))
    assert masks.shape == (1, 2, config.granularities, 16, 16) and boxes.shape == (1, 2, 1, 16, 16)
    assert scores.shape == masks.shape[:3]
    if config.granularities == TINY.granularities:
        assert not torch.allclose(masks, answer(build())[0], atol=1e-3)


@pytest.mark.parametrize("placed_features", [False, True])
def test_gradients_reach_every_trained_parameter_and_no_tower(placed_features: bool) -> None:
    network = build(replace(TINY, placed_features=placed_features)).train()
    assert not network.image_tower.training and network.pixel_decoder.training
    maps = network.encode_maps(pixels())
    seen = network.decode_pixels(maps)
    several = network.mask_point_sets(
        seen, BOXES[:, :, None].expand(-1, -1, 2, -1), torch.tensor([[[True, False]] * 2])
    )
    loss = sum((one.square().mean() + one.sum() for one in (*answer(network), several.mask_logits())), torch.zeros(()))
    single = network.mask_boxes(seen, BOXES).layers[-1].score_logits
    (loss + single.sum()).backward()
    untouched = {n for n, p in network.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())}
    assert {name for name in untouched if not name.endswith("k_proj.bias")} == set(), "a key's bias cancels out"
    assert not [n for n, p in network.named_parameters() if not p.requires_grad and p.grad is not None]


@pytest.mark.parametrize("half", [False, True])
@torch.no_grad()
def test_round_trip(tmp_path: Path, half: bool) -> None:
    network = build()
    save_pretrained(network, tmp_path / "saved", half=half)
    loaded = load_pretrained(tmp_path / "saved").eval()
    assert isinstance(loaded, UniOvSeg) and loaded.config == network.config
    for one, other in zip(answer(loaded), answer(network), strict=True):
        torch.testing.assert_close(one, other, **({"atol": 0.1, "rtol": 0.1} if half else {"atol": 0, "rtol": 0}))
    description = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert set(description["towers"]) == {TINY.image_tower, TINY.text_tower}


@torch.no_grad()
def test_towers_without_public_weights_are_stored(tmp_path: Path) -> None:
    network = build(replace(TINY, towers="stored"))
    network.clip_tower().logit_scale.fill_(1.5)
    save_pretrained(network, tmp_path)
    loaded = load_pretrained(tmp_path)
    assert loaded.clip_tower().cosine_scale().item() == pytest.approx(network.clip_tower().cosine_scale().item())
    assert loaded.trained_names() == set(loaded.state_dict())


@torch.no_grad()
def test_an_untrained_adapter_leaves_clips_own_vectors() -> None:
    network = build_network(TINY).eval()
    assert isinstance(network, UniOvSeg)
    maps = network.encode_maps(pixels())
    whole = torch.ones(1, 1, 16, 16)
    expected = F.normalize(network.image_tower.project(maps[-1].mean(dim=(2, 3))), dim=-1)
    vectors = network.embed_regions(network.region_features(maps), whole)
    torch.testing.assert_close(vectors[:, 0], expected)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(1, 1))


@torch.no_grad()
def test_a_region_smaller_than_a_cell_has_the_vector_of_its_place() -> None:
    network = build()
    features = network.region_features(network.encode_maps(pixels()))
    small = torch.full((1, 2, 16, 16), -1.0)
    small[0, 0, 1, 1] = small[0, 1, 14, 14] = 1.0
    shares, cells = (network.embed_regions(features, small, kind)[0] for kind in ("shares", "cells"))
    assert not torch.allclose(shares[0], shares[1], atol=1e-2)
    # the published pooling finds no cell of stride 32 for either
    coarse = network.image_tower.project(torch.zeros(32))
    assert torch.isfinite(cells).all() and torch.isfinite(coarse).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": "learned"}, r"positions must be one of \('fourier', 'sine'\), got 'learned'"),
        ({"norm": "batch"}, "norm must be one of"),
        ({"image_size": 100}, "image_size must be a multiple of 32, got 100"),
        ({"dim": 40}, "dim must be a multiple of 4 times num_heads 4, got 40"),
        ({"decoder_layers": 0}, "decoder_layers must be 1 or more, got 0"),
        ({"granularities": 0}, "granularities must be 1 or more, got 0"),
        ({"mask_threshold": 2.0}, "mask_threshold must be a probability"),
    ],
)
def test_config_refuses_what_no_model_is(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points_per_side": 0}, "points_per_side must be 1 or more, got 0"),
        ({"points_per_call": -1}, "points_per_call must be 1 or more, got -1"),
        ({"min_score": 65}, r"min_score must be in \[0, 1\], got 65"),
        ({"pooling": "mean"}, "pooling must be one of"),
        ({"templates": ("a photo",)}, "templates must be sentences with {} for the name"),
        ({"templates": ()}, "templates must be sentences with {} for the name"),
    ],
)
def test_settings_refuse_what_means_nothing(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RegionSettings(**changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("towers", "message"),
    [
        ({"image_tower": "conv-test"}, "conv-test does not project regions: names need a ConvNeXt of CLIP"),
        ({"image_tower": "clip-convnext-large-d-320"}, "bytes-test has 24 dimensions, clip-convnext-large-d-320 768"),
    ],
)
def test_towers_of_other_kinds_are_refused(towers: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        UniOvSeg(replace(TINY, **towers))  # type: ignore[arg-type]


@torch.no_grad()
def test_placed_features_tell_equal_places_of_an_image_apart() -> None:
    plain, placed = (build(replace(TINY, placed_features=value)) for value in (False, True))
    flat = [torch.ones(1, width, side, side) for width, side in zip((8, 16, 24, 32), (16, 8, 4, 2), strict=True)]
    spread = [one.decode_pixels(flat).mask_features[0, :, 6:10, 6:10].flatten(1).std(dim=1) for one in (plain, placed)]
    assert spread[1].mean() > 10 * spread[0].mean(), "away from the edges, only a position differs"


@torch.no_grad()
def test_a_model_without_names_has_any_tower_and_no_adapter(tmp_path: Path) -> None:
    network = build(NAMELESS)
    parts = {name for name, _ in network.named_children()}
    assert parts == {"image_tower", "pixel_decoder", "prompts", "mask_decoder"}
    save_pretrained(network, tmp_path)
    assert set(json.loads((tmp_path / "config.json").read_text())["towers"]) == {"conv-test"}
    loaded = load_pretrained(tmp_path)
    assert isinstance(loaded, UniOvSeg) and loaded.config == NAMELESS
    seen = [one.decode_pixels(one.encode_maps(pixels())) for one in (network, loaded.eval())]
    masks = [one.mask_points(each, BOXES).mask_logits() for one, each in zip((network, loaded), seen, strict=True)]
    assert torch.equal(*masks) and masks[0].shape == (1, 2, 4, 16, 16)


def test_the_small_row_fits_into_12_megabytes(tmp_path: Path) -> None:
    row = find_row("uniovseg-lite")
    network = build_seeded(row.config)
    save_pretrained(network, tmp_path, half=True)
    assert (tmp_path / "model.safetensors").stat().st_size < 12e6, "the tower with it"
    assert isinstance(network, UniOvSeg) and network.image_tower.channels == (24, 48, 120, 352)
    assert row.prompt_kinds == {"point", "box"}


def test_a_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    save_pretrained(build(), tmp_path)
    description = json.loads((tmp_path / "config.json").read_text())
    description["config"]["settings"] |= {"points_per_side": 0}
    (tmp_path / "config.json").write_text(json.dumps(description))
    with pytest.raises(CheckpointError, match="points_per_side must be 1 or more"):
        load_pretrained(tmp_path)

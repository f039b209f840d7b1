"""The masked-attention decoder and its prompts: transformers' numbers, the published sizes, prompts apart."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Mask2FormerConfig
from transformers.models.mask2former import modeling_mask2former as m2f

from promptseg.layers.feature_adapter import FeatureAdapter
from promptseg.layers.masked_decoder import MaskedDecoder, MaskedLayer, multiply, resize, visible_cells
from promptseg.layers.pixel_decoder import PixelFeatures
from promptseg.layers.prompt_queries import PromptQueries
from promptseg.layers.region_pooling import cell_weights, pool_regions

DIM, HEADS, MLP_DIM = 32, 4, 48


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def randomize(module: torch.nn.Module) -> torch.nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    return module.eval()


def image(batch: int = 2) -> PixelFeatures:
    maps = tuple(torch.randn(batch, DIM, side, side) for side in (2, 4, 8))
    return PixelFeatures(maps, torch.randn(batch, DIM, 16, 16))


def build(num_layers: int = 3, num_outputs: int = 5, positions: str = "sine") -> MaskedDecoder:
    decoder = MaskedDecoder(
        DIM, num_layers=num_layers, num_heads=HEADS, mlp_dim=MLP_DIM, num_outputs=num_outputs, positions=positions
    )
    return randomize(decoder)


def layer_from(theirs: torch.nn.Module) -> MaskedLayer:
    """Make our layer with the weights of transformers', whose image attention packs three projections."""
    state = theirs.state_dict()
    renamed = {}
    for part, packed in (("weight", "cross_attn.in_proj_weight"), ("bias", "cross_attn.in_proj_bias")):
        for name, value in zip("qkv", state[packed].chunk(3), strict=True):
            renamed[f"image_attention.{name}_proj.{part}"] = value
    names = {
        "cross_attn.out_proj": "image_attention.out_proj", "cross_attn_layer_norm": "image_norm",
        "self_attn_layer_norm": "token_norm", "fc1": "mlp.lin1", "fc2": "mlp.lin2", "final_layer_norm": "mlp_norm",
        **{f"self_attn.{one}_proj": f"token_attention.{one}_proj" for one in ("q", "k", "v", "out")},
    }  # fmt: skip
    for old, new in names.items():
        renamed |= {f"{new}.{part}": state[f"{old}.{part}"] for part in ("weight", "bias")}
    ours = MaskedLayer(DIM, num_heads=HEADS, mlp_dim=MLP_DIM)
    ours.load_state_dict(renamed, strict=True)
    return ours.eval()


@torch.no_grad()
def test_a_layer_gives_transformers_numbers_for_one_prompt() -> None:
    config = Mask2FormerConfig(hidden_dim=DIM, num_attention_heads=HEADS, dim_feedforward=MLP_DIM, dropout=0.0)
    theirs = randomize(m2f.Mask2FormerMaskedAttentionDecoderLayer(config))
    tokens, codes = torch.randn(2, 1, 7, DIM), torch.randn(2, 1, 7, DIM)
    cells, cell_codes = torch.randn(2, 30, DIM), torch.randn(1, 30, DIM)
    visible = torch.rand(2, 1, 30) > 0.5
    hidden = ~visible[:, None].expand(-1, HEADS, 7, -1).flatten(0, 1)
    expected = theirs(
        tokens[:, 0].transpose(0, 1),
        level_index=0,
        position_embeddings=[cell_codes.expand(2, -1, -1).transpose(0, 1)],
        query_position_embeddings=codes[:, 0].transpose(0, 1),
        encoder_hidden_states=[cells.transpose(0, 1)],
        encoder_attention_mask=hidden,
    )[0].transpose(0, 1)
    ours = layer_from(theirs)(tokens, codes, cells, cell_codes, visible)[:, 0]
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_mask_heads_give_transformers_numbers() -> None:
    theirs = randomize(m2f.Mask2FormerMaskPredictor(DIM, HEADS, DIM))
    decoder = build(num_outputs=1)
    state = {
        f"{ours}.{part}": theirs.state_dict()[f"mask_embedder.{index}.0.{part}"]
        for index, ours in enumerate(("proj_in", "layers.0", "proj_out"))
        for part in ("weight", "bias")
    }
    decoder.mask_heads[0].load_state_dict(state, strict=True)
    tokens, features = torch.randn(1, 3, DIM), torch.randn(1, DIM, 8, 8)
    expected, hidden = theirs(tokens.transpose(0, 1), features, (4, 4))
    vectors = decoder.mask_heads[0](tokens)
    torch.testing.assert_close(multiply(vectors, features), expected, atol=1e-5, rtol=1e-5)
    # theirs is one mask a query, and opened by the decoder; True hides
    opened = hidden[:1] & (hidden[:1].sum(-1) != 16)[..., None]
    assert torch.equal(visible_cells(vectors[:, :, None], resize(features, (4, 4))), ~opened)


@torch.no_grad()
def test_resizing_commutes_with_the_product() -> None:
    vectors = torch.randn(2, 3, 4, DIM, dtype=torch.float64)
    features = torch.randn(2, DIM, 8, 8, dtype=torch.float64)
    masks = multiply(vectors, features)
    for size_hw in ((4, 4), (20, 13)):
        expected = F.interpolate(masks.flatten(1, 2), size=size_hw, mode="bilinear", align_corners=False)
        torch.testing.assert_close(multiply(vectors, resize(features, size_hw)).flatten(1, 2), expected)


@pytest.mark.parametrize(("num_layers", "expected"), [(6, 11_449_349), (9, 16_185_605)])
def test_decoder_and_prompts_have_the_published_numbers_of_parameters(num_layers: int, expected: int) -> None:
    with torch.device("meta"):
        decoder = MaskedDecoder(
            256, num_layers=num_layers, num_heads=8, mlp_dim=2048, num_outputs=5, positions="fourier"
        )
        prompts = PromptQueries(256, num_granularities=4, positions="fourier")
    assert sum(parameter.numel() for parameter in decoder.parameters()) == expected
    assert sum(parameter.numel() for parameter in decoder.layers[0].parameters()) == 1_578_752
    assert sum(parameter.numel() for parameter in prompts.parameters()) == 2_816


def boxes(*shape: int) -> Tensor:
    corners = torch.rand(*shape, 2) * 0.5
    return torch.cat([corners, corners + 0.3], dim=-1)


@pytest.mark.parametrize("positions", ["sine", "fourier"])
@torch.no_grad()
def test_every_kind_of_prompt_has_its_masks_and_its_tokens(positions: str) -> None:
    prompts = randomize(PromptQueries(DIM, num_granularities=4, positions=positions))
    decoder, seen = build(positions=positions), image()
    point = prompts.embed_point(boxes(2, 3), seen.mask_features)
    box = prompts.embed_box(boxes(2, 3), seen.mask_features)
    several = prompts.embed_points(boxes(2, 3, 2), torch.tensor([[[True, False]]]).expand(2, 3, -1), seen.mask_features)
    assert [each.tokens.shape[2] for each in (point, box, several)] == [2 + 5, 2 + 5, 2 * 2 + 1]
    assert [each.heads for each in (point, box, several)] == [(1, 2, 3, 4), (0,), (0,)]
    assert [each.first_output for each in (point, box, several)] == [3, 2, 4]
    for queries, num_masks in ((point, 4), (box, 1), (several, 1)):
        decoded = decoder(seen, queries)
        assert len(decoded.layers) == 4, "a prediction before the first layer and after each"
        assert decoded.mask_logits().shape == (2, 3, num_masks, 16, 16)
        assert decoded.layers[-1].score_logits.shape == (2, 3, num_masks)
        assert decoded.mask_logits((5, 9)).shape[-2:] == (5, 9)


@torch.no_grad()
def test_a_corner_is_position_corner_kind_label_and_content() -> None:
    prompts = randomize(PromptQueries(DIM, num_granularities=4, positions="fourier"))
    features = torch.randn(1, DIM, 4, 4)
    box = torch.tensor([[[0.0, 0.0, 0.25, 0.25]]])  # its center is that of the first cell
    corners = prompts.positions.encode(box.view(2, 2)) + prompts.corner_codes + features[0, :, 0, 0]
    with_kind = prompts.embed_box(box, features).tokens[0, 0]
    torch.testing.assert_close(with_kind[:2], corners + prompts.box_code)
    torch.testing.assert_close(with_kind[2:], prompts.granularity_codes)
    on_object = prompts.embed_point(box, features).tokens[0, 0, :2]
    torch.testing.assert_close(on_object, corners + prompts.point_code + prompts.label_codes[1])
    beside = prompts.embed_points(box[:, :, None], torch.zeros(1, 1, 1, dtype=torch.bool), features).tokens[0, 0, :2]
    torch.testing.assert_close(beside, corners + prompts.point_code + prompts.label_codes[0])


@torch.no_grad()
def test_prompts_and_images_do_not_see_each_other() -> None:
    prompts = randomize(PromptQueries(DIM, num_granularities=4, positions="fourier"))
    decoder, seen = build(), image()
    given = boxes(2, 5)
    together = decoder(seen, prompts.embed_point(given, seen.mask_features)).mask_logits()
    for row in range(2):
        alone = PixelFeatures(tuple(one[row : row + 1] for one in seen.maps), seen.mask_features[row : row + 1])
        queries = prompts.embed_point(given[row : row + 1, 3:4], alone.mask_features)
        torch.testing.assert_close(decoder(alone, queries).mask_logits()[0, 0], together[row, 3], atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_prompt_without_any_visible_cell_sees_all() -> None:
    vectors = torch.stack([-torch.ones(1, 1, DIM), torch.ones(1, 1, DIM)], dim=1)
    features = torch.ones(1, DIM, 2, 2)
    features[..., 1, 1] = -1
    assert visible_cells(vectors, features)[0].tolist() == [[False, False, False, True], [True, True, True, False]]
    assert visible_cells(vectors[:, :1], features.abs()).all()


def test_gradients_reach_every_parameter_of_the_used_heads() -> None:
    prompts = PromptQueries(DIM, num_granularities=4, positions="fourier")
    decoder, seen = build().train(), image(1)
    decoded = decoder(seen, prompts.embed_point(boxes(1, 2), seen.mask_features))
    loss = decoded.mask_logits().square().mean() + decoded.layers[-1].score_logits.sum()
    loss.backward()
    missing = {name for name, p in decoder.named_parameters() if p.grad is None or not p.grad.any()}
    # a key's bias cancels in the softmax
    assert {name for name in missing if "k_proj.bias" not in name} == {
        f"{head}.0.{layer}.{part}"
        for head in ("mask_heads", "score_heads")
        for layer in ("proj_in", "layers.0", "proj_out")
        for part in ("weight", "bias")
    }


@torch.no_grad()
def test_small_regions_are_pooled_by_their_share_of_a_cell() -> None:
    features = torch.randn(1, 3, 2, 2)
    mask = torch.full((1, 1, 16, 16), -1.0)
    mask[..., 1:3, 1:4] = 1.0  # 6 of the first cell's 64 pixels
    weights = cell_weights(mask, (2, 2))
    assert weights[0, 0].tolist() == [[6 / 64, 0.0], [0.0, 0.0]]
    torch.testing.assert_close(pool_regions(features, weights)[0, 0], features[0, :, 0, 0])
    # the published way finds no cell, and the vector is zero
    assert not pool_regions(features, cell_weights(mask, (2, 2), "cells")).any()


@torch.no_grad()
def test_large_regions_are_pooled_the_same_in_both_ways() -> None:
    features = torch.randn(1, 3, 4, 4)
    mask = torch.full((1, 1, 16, 16), -1.0)
    mask[..., :8, :] = 1.0
    shares, cells = (pool_regions(features, cell_weights(mask, (4, 4), kind)) for kind in ("shares", "cells"))
    torch.testing.assert_close(shares, cells)
    torch.testing.assert_close(shares[0, 0], features[0, :, :2].mean(dim=(1, 2)))


@torch.no_grad()
def test_an_untrained_adapter_changes_nothing_and_a_trained_one_reads_every_map() -> None:
    channels = (4, 6)
    adapter = FeatureAdapter(channels, 10, rank=3)
    maps = [torch.randn(1, c, 8 // s, 8 // s) for c, s in zip(channels, (1, 2), strict=True)]
    reduced = adapter.reduce(maps)
    assert [tuple(one.shape) for one in reduced] == [(1, 3, 8, 8), (1, 3, 4, 4)]
    weights = [torch.rand(1, 2, *one.shape[-2:]) for one in maps]
    pooled = [pool_regions(one, weight) for one, weight in zip(reduced, weights, strict=True)]
    assert not adapter.update(pooled).any()
    for layer in adapter.up:
        layer.weight.normal_()
    # pooling before the second layer is pooling after it
    expected = sum(
        pool_regions(layer(one.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), weight)
        for layer, one, weight in zip(adapter.up, reduced, weights, strict=True)
    )
    torch.testing.assert_close(adapter.update(pooled), expected)
    assert sum(p.numel() for p in adapter.parameters()) == sum(3 * c + 3 + 10 * 3 for c in channels)

"""Deformable attention and the pixel decoder: transformers' numbers from the same weights, the paper's sizes."""

import re

import pytest
import torch
from torch import Tensor
from transformers import Mask2FormerConfig
from transformers.models.mask2former import modeling_mask2former as m2f

from promptseg.layers.deformable import DeformableAttention, sample_maps
from promptseg.layers.norm import ChannelNorm
from promptseg.layers.pixel_decoder import PixelDecoder
from promptseg.layers.position import FourierPositions, SinePositions, grid_positions

DIM, HEADS, POINTS = 32, 4, 4
SIZES_HW = [(2, 3), (4, 6), (8, 12)]
NUM_CELLS = sum(height * width for height, width in SIZES_HW)
CHANNELS = (6, 10, 14, 18)


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def randomize(module: torch.nn.Module) -> torch.nn.Module:
    """Draw every weight, for some start at zero and would hide what they do."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=0.3)
    return module.eval()


@torch.no_grad()
def test_deformable_attention_gives_transformers_numbers() -> None:
    theirs = randomize(m2f.Mask2FormerPixelDecoderEncoderMultiscaleDeformableAttention(DIM, HEADS, 3, POINTS))
    ours = DeformableAttention(DIM, num_heads=HEADS, num_levels=3, num_points=POINTS)
    ours.load_state_dict(theirs.state_dict())
    queries, cells = torch.randn(2, 5, DIM), torch.randn(2, NUM_CELLS, DIM)
    references = torch.rand(5, 2)
    expected, _ = theirs(
        queries,
        encoder_hidden_states=cells,
        reference_points=references.expand(2, -1, -1)[:, :, None].expand(-1, -1, 3, -1),
        spatial_shapes_list=SIZES_HW,
    )
    torch.testing.assert_close(ours(queries, references, cells, SIZES_HW), expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_points_are_read_bilinearly_and_outside_is_zero() -> None:
    values = torch.arange(6.0).view(1, 6, 1, 1)  # one head, one channel: 0 1 2 over 3 4 5
    centers = torch.tensor([[0.5 / 3, 0.25], [2.5 / 3, 0.75], [0.5, 0.5], [-0.5, 0.5], [0.0, 0.25]])
    read = sample_maps(values, centers.view(1, 5, 1, 1, 1, 2), torch.ones(1, 5, 1, 1, 1), [(2, 3)])
    torch.testing.assert_close(read.flatten(), torch.tensor([0.0, 5.0, 2.5, 0.0, 0.0]))
    # at the edge half of the weight falls on the zeros outside
    edge = sample_maps(values + 1, centers[4:].view(1, 1, 1, 1, 1, 2), torch.ones(1, 1, 1, 1, 1), [(2, 3)])
    assert edge.item() == pytest.approx(0.5)


@torch.no_grad()
def test_deformable_attention_starts_with_heads_that_look_in_all_directions() -> None:
    offsets = DeformableAttention(DIM, num_heads=8, num_levels=3, num_points=4).sampling_offsets.bias.view(8, 3, 4, 2)
    compass = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    for distance in (1, 2, 3, 4):
        expected = torch.tensor(compass, dtype=torch.float32)[:, None].expand(-1, 3, -1) * distance
        torch.testing.assert_close(offsets[:, :, distance - 1], expected, atol=1e-5, rtol=0)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="num_heads must divide dim 32, got 5"):
        DeformableAttention(32, num_heads=5, num_levels=3, num_points=4)


@torch.no_grad()
def test_sine_codes_are_those_of_transformers() -> None:
    theirs = m2f.Mask2FormerSinePositionEmbedding(num_position_features=DIM // 2, normalize=True)
    expected = theirs(torch.Size((1, DIM, 5, 7)), torch.device("cpu"), torch.float32).flatten(2).transpose(1, 2)
    torch.testing.assert_close(SinePositions(DIM)((5, 7)), expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "shift"), [(FourierPositions, 0.5), (SinePositions, 1.0)])
def test_a_grid_has_the_codes_of_its_points(kind: type, shift: float) -> None:
    positions = kind(DIM)
    cells = grid_positions((3, 4), like=torch.zeros(1), shift=shift)
    torch.testing.assert_close(positions((3, 4))[0], positions.encode(cells))
    assert cells[0].tolist() == pytest.approx([shift / 4, shift / 3]) and cells[1, 0] > cells[0, 0]


def mask2former_names(name: str) -> str:
    """Translate a name of ours to transformers'."""
    for pattern, new in (
        (r"^projections\.", "input_projections."),
        (r"^level_codes$", "level_embed"),
        (r"^layers\.(\d+)\.attention\.", r"encoder.layers.\1.self_attn."),
        (r"^layers\.(\d+)\.attention_norm\.", r"encoder.layers.\1.self_attn_layer_norm."),
        (r"^layers\.(\d+)\.mlp\.lin(\d)\.", r"encoder.layers.\1.fc\2."),
        (r"^layers\.(\d+)\.mlp_norm\.", r"encoder.layers.\1.final_layer_norm."),
        (r"^lateral\.", "adapter_1."),
        (r"^smooth\.", "layer_1."),
        (r"^mask_features\.", "mask_projection."),
    ):
        name = re.sub(pattern, new, name)
    return name


def build(channels: tuple[int, ...], dim: int, num_layers: int, mlp_dim: int, **options: str) -> PixelDecoder:
    return PixelDecoder(
        channels, dim=dim, num_layers=num_layers, num_heads=8, num_points=4, mlp_dim=mlp_dim,
        positions=options.get("positions", "sine"), norm=options.get("norm", "group"),
    )  # fmt: skip


@torch.no_grad()
def test_pixel_decoder_gives_transformers_numbers() -> None:
    dim = 64
    config = Mask2FormerConfig(
        feature_size=dim, mask_feature_size=dim, encoder_layers=2, encoder_feedforward_dim=96,
        num_attention_heads=8, dropout=0.0, feature_strides=[4, 8, 16, 32], common_stride=4,
    )  # fmt: skip
    theirs = randomize(m2f.Mask2FormerPixelDecoder(config, list(CHANNELS)))
    ours = build(CHANNELS, dim, 2, 96).eval()
    # theirs always has 32 groups
    for norm in (module for module in ours.modules() if isinstance(module, torch.nn.GroupNorm)):
        norm.num_groups = 32
    state = theirs.state_dict()
    ours.load_state_dict({name: state[mask2former_names(name)] for name in ours.state_dict()}, strict=True)
    maps = [torch.randn(2, c, 64 // s, 96 // s) for c, s in zip(CHANNELS, (4, 8, 16, 32), strict=True)]
    expected = theirs(maps, output_attentions=False, output_hidden_states=False, return_dict=True)
    decoded = ours(maps)
    torch.testing.assert_close(decoded.mask_features, expected.mask_features, atol=1e-5, rtol=1e-5)
    for one, other in zip(decoded.maps, expected.multi_scale_features, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("positions", ["sine", "fourier"])
@pytest.mark.parametrize("norm", ["group", "layer"])
def test_pixel_decoder_has_the_published_number_of_parameters(positions: str, norm: str) -> None:
    with torch.device("meta"):
        decoder = build((192, 384, 768, 1536), 256, 6, 1024, positions=positions, norm=norm)
        assert isinstance(decoder.projections[0][1], torch.nn.GroupNorm if norm == "group" else ChannelNorm)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == 5_790_144


def test_pixel_decoder_computes_in_float32_under_autocast() -> None:
    decoder = build(CHANNELS, 32, 1, 48)
    maps: list[Tensor] = [torch.randn(1, c, 32 // s, 32 // s) for c, s in zip(CHANNELS, (4, 8, 16, 32), strict=True)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decoded = decoder([one.bfloat16() for one in maps])
    assert decoded.mask_features.dtype == torch.float32
    decoded.mask_features.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in decoder.parameters())

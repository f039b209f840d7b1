"""SAM's decoder parts: the same numbers as transformers' from the same weights, and a start from SAM's own."""

import pytest
import torch
from torch import Tensor
from transformers.models.sam.configuration_sam import SamConfig, SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamModel, SamPositionalEmbedding, SamTwoWayTransformer

from promptseg.layers.mask_decoder import MaskDecoder, load_sam_decoder
from promptseg.layers.position import FourierPositions
from promptseg.layers.two_way import Attention, TwoWayTransformer
from promptseg.layers.upsampler import ProgressiveUpsampler, project_dynamically

DIM, HEADS, MLP_DIM = 32, 4, 48


def sam_config(depth: int = 2) -> SamMaskDecoderConfig:
    config = SamMaskDecoderConfig(
        hidden_size=DIM,
        mlp_dim=MLP_DIM,
        num_hidden_layers=depth,
        num_attention_heads=HEADS,
        iou_head_hidden_dim=DIM,
    )
    config._attn_implementation = "eager"
    return config


def sam_state() -> dict[str, Tensor]:
    """Random weights under SAM's names."""
    torch.manual_seed(1)
    state = {f"mask_decoder.{name}": value for name, value in SamMaskDecoder(sam_config()).state_dict().items()}
    state["prompt_encoder.shared_embedding.positional_embedding"] = torch.randn(2, DIM // 2)
    return state


def build_decoder(depth: int = 2, **options: int) -> MaskDecoder:
    return MaskDecoder(DIM, num_heads=HEADS, mlp_dim=MLP_DIM, depth=depth, **options)


@pytest.mark.parametrize("depth", [1, 3])
def test_two_way_transformer_equals_transformers(depth: int) -> None:
    torch.manual_seed(0)
    reference = SamTwoWayTransformer(sam_config(depth)).eval()
    ours = TwoWayTransformer(DIM, HEADS, MLP_DIM, depth)
    ours.load_state_dict(reference.state_dict(), strict=True)
    tokens, image, codes = torch.randn(3, 5, DIM), torch.randn(3, DIM, 4, 6), torch.randn(3, DIM, 4, 6)
    expected_tokens, expected_cells = reference(tokens[:, None], image, codes, attention_similarity=None)
    got_tokens, got_cells = ours(tokens, image.flatten(2).mT, codes.flatten(2).mT)
    torch.testing.assert_close(got_tokens, expected_tokens[:, 0], atol=1e-5, rtol=0)
    torch.testing.assert_close(got_cells, expected_cells[:, 0], atol=1e-5, rtol=0)


def test_positions_equal_transformers() -> None:
    config = SamConfig(vision_config={"num_pos_feats": DIM // 2}).vision_config
    reference = SamPositionalEmbedding(config)
    ours = FourierPositions(DIM)
    ours.load_state_dict(reference.state_dict(), strict=True)
    y, x = torch.meshgrid((torch.arange(5) + 0.5) / 5, (torch.arange(7) + 0.5) / 7, indexing="ij")
    expected = reference(torch.stack([x, y], dim=-1)[None]).flatten(1, 2)
    torch.testing.assert_close(ours((5, 7)), expected, atol=1e-5, rtol=0)


def test_decoder_started_from_sam_gives_sams_mask() -> None:
    """With SAM's two blocks and without its missing part, the presence token, the decoder is SAM's."""
    state = sam_state()
    reference = SamMaskDecoder(sam_config()).eval()
    reference.load_state_dict({name.removeprefix("mask_decoder."): v for name, v in state.items() if "mask_d" in name})
    ours = build_decoder()
    load_sam_decoder(ours, state)
    torch.manual_seed(2)
    image, prompt = torch.randn(2, DIM, 4, 4), torch.randn(2, 3, DIM)
    # SAM has four mask tokens: the reference is given ours as its second one, so that both read the same tokens
    tokens = torch.cat([ours.iou_token.weight, ours.mask_token.weight, ours.presence_token.weight]).expand(2, -1, -1)
    codes = ours.positions((4, 4)).mT.unflatten(2, (4, 4)).expand(2, -1, -1, -1)
    out, cells = reference.transformer(torch.cat([tokens, prompt], dim=1)[:, None], image, codes, None)
    maps = cells[:, 0].mT.unflatten(2, (4, 4))
    maps = torch.nn.functional.gelu(reference.upscale_layer_norm(reference.upscale_conv1(maps)))
    maps = torch.nn.functional.gelu(reference.upscale_conv2(maps))
    expected = torch.einsum("nc,nchw->nhw", reference.output_hypernetworks_mlps[0](out[:, 0, 1]), maps)
    got = ours(image, prompt)
    torch.testing.assert_close(got.mask_logits, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(got.iou, reference.iou_prediction_head(out[:, 0, 0])[:, 0], atol=1e-5, rtol=0)


def test_start_from_sam_sets_all_but_what_sam_lacks_and_copies_the_last_block() -> None:
    decoder = build_decoder(depth=3, skip_dim=8)
    names = load_sam_decoder(decoder, sam_state())
    left = set(decoder.state_dict()) - set(names)
    assert left and all(name.startswith(("presence_", "upsampler.skip.")) for name in left)
    second, third = decoder.transformer.layers[1].state_dict(), decoder.transformer.layers[2].state_dict()
    assert all(torch.equal(second[name], third[name]) for name in second)


def test_names_are_those_of_a_whole_sam_model() -> None:
    with torch.device("meta"):
        sam = SamModel(SamConfig())
        decoder = MaskDecoder(256, num_heads=8, mlp_dim=2048, depth=3)
    state = {name: torch.empty(value.shape) for name, value in sam.state_dict().items()}
    names = load_sam_decoder(decoder.to_empty(device="cpu"), state)
    assert len(names) == len(decoder.state_dict()) - len([n for n in decoder.state_dict() if "presence" in n])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("mask_decoder.upscale_conv1.weight"), "lack mask_decoder.upscale_conv1.weight"),
        (lambda state: state.pop("prompt_encoder.shared_embedding.positional_embedding"), "lack prompt_encoder.shared"),
        (lambda state: state.update({"mask_decoder.iou_token.weight": torch.zeros(1, 8)}), r"has shape \(1, 8\)"),
    ],
)
def test_start_from_other_weights_is_refused(change, message: str) -> None:  # type: ignore[no-untyped-def]
    state = sam_state()
    change(state)
    with pytest.raises(ValueError, match=message):
        load_sam_decoder(build_decoder(), state)


def test_masked_tokens_change_nothing() -> None:
    torch.manual_seed(0)
    decoder = build_decoder()
    image, prompt = torch.randn(2, DIM, 4, 4), torch.randn(2, 3, DIM)
    padded = torch.cat([prompt, 100 * torch.ones(2, 2, DIM)], dim=1)
    mask = torch.tensor([[True, True, True, False, False]]).expand(2, -1)
    torch.testing.assert_close(decoder(image, padded, mask).mask_logits, decoder(image, prompt).mask_logits)
    torch.testing.assert_close(decoder(image, padded, mask).presence_logit, decoder(image, prompt).presence_logit)


@pytest.mark.parametrize("skip_scale", [2, 4])
def test_upsampler_is_four_times_finer_and_reads_the_finer_map(skip_scale: int) -> None:
    torch.manual_seed(0)
    upsampler = ProgressiveUpsampler(DIM, skip_dim=6, skip_scale=skip_scale)
    x, fine = torch.randn(1, DIM, 3, 5), torch.randn(1, 6, 3 * skip_scale, 5 * skip_scale)
    skip = upsampler.project_skip(fine)
    assert skip is not None
    assert upsampler(x, skip).shape == (1, upsampler.out_channels, 12, 20)
    assert not torch.equal(upsampler(x, skip), upsampler(x))


def test_upsampler_refuses_another_scale() -> None:
    with pytest.raises(ValueError, match="skip_scale must be 2 or 4, got 3"):
        ProgressiveUpsampler(DIM, skip_dim=6, skip_scale=3)


def test_attention_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="num_heads must divide the inner width 16, got 3"):
        Attention(DIM, 3, downsample_rate=2)


def test_dynamic_projection_is_a_dot_product_per_cell() -> None:
    vectors, maps = torch.randn(2, 3), torch.randn(2, 3, 4, 5)
    expected = torch.stack([(v[:, None, None] * m).sum(0) for v, m in zip(vectors, maps, strict=True)])
    torch.testing.assert_close(project_dynamically(vectors, maps), expected)

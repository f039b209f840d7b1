"""SAM's mask decoder, spelled out, gives the numbers of transformers' own forward pass."""

import pytest
import torch

from promptseg.sam.mask_decode import MaskDecode
from promptseg.sam.sam_vit import build_tiny_model


@pytest.mark.parametrize("levels", [False, True])
@pytest.mark.parametrize(("num_prompts", "num_dense"), [(1, 1), (3, 1), (3, 3)])
def test_masks_and_scores_are_those_of_transformers(num_prompts: int, num_dense: int, *, levels: bool) -> None:
    decoder = build_tiny_model().mask_decoder.eval()
    numbers = torch.Generator().manual_seed(1)
    embedding, position = (torch.randn(1, 16, 3, 5, generator=numbers) for _ in range(2))
    tokens = torch.randn(num_prompts, 4, 16, generator=numbers)
    dense = torch.randn(num_dense, 16, 3, 5, generator=numbers)
    with torch.inference_mode():
        for parameter in decoder.parameters():  # biases are 0 and norms 1 before training: they would not be seen
            parameter += 0.3 * torch.randn(parameter.shape, generator=numbers)
        masks, scores = MaskDecode(decoder, levels=levels)(embedding, position, tokens, dense)
        expected_masks, expected_scores = decoder(
            image_embeddings=(embedding + dense).expand(num_prompts, -1, -1, -1),
            image_positional_embeddings=position.expand(num_prompts, -1, -1, -1),
            sparse_prompt_embeddings=tokens[:, None],
            dense_prompt_embeddings=torch.zeros(()),
            multimask_output=levels,
        )
    assert masks.shape == (num_prompts, 3 if levels else 1, 12, 20)
    torch.testing.assert_close(masks, expected_masks[:, 0], rtol=1e-4, atol=1e-4 * expected_masks.abs().max().item())
    torch.testing.assert_close(scores, expected_scores[:, 0], rtol=1e-4, atol=1e-5)

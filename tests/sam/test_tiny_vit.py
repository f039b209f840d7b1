"""TinyViT: layout, and numbers of an independent implementation."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from promptseg import weights
from promptseg.sam.tiny_vit import TinyViT


def wavy_pixels(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    channels = [torch.sin(7 * x * y + c) + 0.5 * torch.cos(23 * x + 5 * c) * torch.sin(19 * y) for c in range(3)]
    return torch.stack(channels)[None]


def test_any_multiple_of_16_goes_through() -> None:
    model = TinyViT().eval()
    with torch.inference_mode():
        assert model(torch.zeros(2, 3, 48, 80)).shape == (2, 256, 3, 5)


def test_a_image_does_not_depend_on_its_batch() -> None:
    torch.manual_seed(0)
    model = TinyViT().eval()
    pixels = torch.randn(3, 3, 64, 64)
    with torch.inference_mode():
        together = model(pixels)
        alone = torch.cat([model(one[None]) for one in pixels])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.weights
def test_features_equal_those_of_timm() -> None:
    """The values are timm 1.0.31's TinyVit with these weights, its last stride set to 1.

    On the whole map the two differ by at most 2.6e-5 of 25.1.
    """
    state = load_file(weights.resolve("mobile-sam"))
    prefix = "image_encoder."
    model = TinyViT()
    model.load_state_dict(
        {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix) and "head" not in k}
    )
    model.eval()
    with torch.inference_mode():
        features = model.patch_embed(wavy_pixels(192, 256))
        for stage in model.layers:
            features = stage(features)
    assert features.shape == (1, 320, 12, 16)
    expected = torch.tensor([7.10623, 1.31600, -0.17247, -0.03698, -1.36059])
    torch.testing.assert_close(features[0, ::64, 3, 5], expected, rtol=0, atol=1e-4)
    assert features.mean().item() == pytest.approx(0.0858212, abs=1e-5)
    assert features.std().item() == pytest.approx(1.9259645, abs=1e-4)

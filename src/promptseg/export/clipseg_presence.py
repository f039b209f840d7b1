"""CLIPSeg's decoder with the presence that its segmenter computes: the highest logit of the mask."""

from torch import Tensor, nn

from promptseg.runtime import Step


class _DecodeWithPresence(nn.Module):
    def __init__(self, decode: nn.Module) -> None:
        super().__init__()
        self.decode = decode

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        logits: Tensor = self.decode(*inputs)
        return logits, logits.amax(dim=(1, 2))


def with_presence(decode: Step) -> Step:
    """Give the decoder the interface of the default model's: an input `texts`, an output `presence_logit`."""
    renamed = {"texts" if name == "condition" else name: tensor for name, tensor in decode.example.items()}
    return Step(_DecodeWithPresence(decode.module), renamed, {"texts": (0,)}, ("mask_logits", "presence_logit"))

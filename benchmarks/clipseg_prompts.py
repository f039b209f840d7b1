"""Time of CLIPSeg for N phrases on one image: promptseg's compared with transformers', with the same random weights.

Command:    python benchmarks/clipseg_prompts.py --prompts 1 8 32 --rounds 1
Contenders: CLIPSegForImageSegmentation (the form of rd64-refined, 352 px, eager PyTorch) as its documentation shows it,
            with the image repeated for each phrase; and promptseg's ClipSeg, PyTorch too, which encodes the image
            once, and not beyond the block that the decoder reads.
Output:     one JSON line for each N: seconds (best round) by the clock and of the processor, their ratio, and the
            largest difference of logits. The processor's seconds say more on a machine that others use.

Both start with pixels and token ids and end with logits; the contenders take turns. A minute or so on a free core.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

# Every import of something heavy is in the function that needs it, so that --help answers at once.
if TYPE_CHECKING:
    from torch import Tensor
    from transformers import CLIPSegForImageSegmentation

    from promptseg.models.clipseg.network import ClipSeg

SIDE, PATCH = 352, 16
START, END = 49406, 49407


@dataclass(frozen=True, eq=False)
class Timed:
    """One measurement: seconds by the clock, seconds of the processor, and the logits."""

    wall: float
    cpu: float
    logits: "Tensor"


def build_pair() -> "tuple[CLIPSegForImageSegmentation, ClipSeg]":
    """Build both networks with the same weights."""
    import torch
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    from promptseg.models.checkpoint import load_trained
    from promptseg.models.clipseg.config import ClipSegConfig
    from promptseg.models.clipseg.layouts import decoder_from_transformers, towers_from_transformers
    from promptseg.models.clipseg.network import ClipSeg

    torch.manual_seed(0)
    config = CLIPSegConfig(vision_config={"patch_size": PATCH}, use_complex_transposed_convolution=True)
    theirs = CLIPSegForImageSegmentation(config).eval()
    with torch.no_grad():
        # their initial weights make logits in the hundreds, whose last digit hides any difference
        for name, parameter in theirs.decoder.named_parameters():
            if "transposed" in name:
                parameter.normal_(std=0.1)
    ours = ClipSeg(ClipSegConfig(towers="stored")).eval()
    state = theirs.state_dict()
    load_trained(ours, {**decoder_from_transformers(state), **towers_from_transformers(state)}, source="transformers")
    return theirs, ours


def segment_by_theirs(model: "CLIPSegForImageSegmentation", pixels: "Tensor", token_ids: "Tensor") -> "Tensor":
    """Give the logits of transformers, shape (N, SIDE, SIDE)."""
    logits = model(pixel_values=pixels.repeat(len(token_ids), 1, 1, 1), input_ids=token_ids).logits
    return logits.reshape(len(token_ids), SIDE, SIDE)


def segment_by_ours(model: "ClipSeg", pixels: "Tensor", token_ids: "Tensor") -> "Tensor":
    """Give the logits of promptseg, shape (N, SIDE, SIDE)."""
    import torch

    from promptseg.models.clipseg.segmenter import QUERY_CHUNK

    states = model.encode_tokens(pixels)
    conditions = model.text_tower(token_ids, token_ids != END).embedding.split(QUERY_CHUNK)
    grid_hw = (SIDE // PATCH, SIDE // PATCH)
    return torch.cat([model.decode(states, condition, grid_hw) for condition in conditions])


def measure(segment: "Callable[[], Tensor]") -> Timed:
    """Time one contender."""
    wall, cpu = time.perf_counter(), time.process_time()
    logits = segment()
    return Timed(time.perf_counter() - wall, time.process_time() - cpu, logits)


def main() -> None:
    """Measure each number of phrases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 8, 32], help="numbers of phrases")
    parser.add_argument("--rounds", type=int, default=1, help="times that each is measured")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    theirs, ours = build_pair()
    pixels = torch.randn(1, 3, SIDE, SIDE)
    for num_prompts in options.prompts:
        words = torch.randint(300, 40000, (num_prompts, 3))
        token_ids = torch.cat([torch.full((num_prompts, 1), START), words, torch.full((num_prompts, 1), END)], dim=1)
        by_theirs, by_ours = [], []
        with torch.inference_mode():
            for _ in range(options.rounds):
                by_theirs.append(measure(partial(segment_by_theirs, theirs, pixels, token_ids)))
                by_ours.append(measure(partial(segment_by_ours, ours, pixels, token_ids)))
        wall, cpu = (
            tuple(min(getattr(one, clock) for one in each) for each in (by_theirs, by_ours))
            for clock in ("wall", "cpu")
        )
        line = {
            "prompts": num_prompts,
            "transformers_s": round(wall[0], 3),
            "ours_s": round(wall[1], 3),
            "ratio": round(wall[0] / wall[1], 2),
            "transformers_cpu_s": round(cpu[0], 3),
            "ours_cpu_s": round(cpu[1], 3),
            "cpu_ratio": round(cpu[0] / cpu[1], 2),
            "largest_difference": float((by_theirs[-1].logits - by_ours[-1].logits).abs().max()),
            "threads": options.threads,
            "rounds": options.rounds,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

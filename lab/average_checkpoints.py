"""Average a checkpoint with the one that it was fine-tuned from.

python -m lab.average_checkpoints BEFORE AFTER OUT --share 0.6

The average mostly keeps what the new run learned, and what the old weights knew about names that the new run never saw.

Source:
    Wortsman et al. 2022, arXiv:2109.01903 (WiSE-FT).
"""

import argparse
from pathlib import Path

import torch

from promptseg.errors import CheckpointError
from promptseg.models.checkpoint import load_pretrained, save_pretrained


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="checkpoint that the run started from (promptseg train --init)")
    parser.add_argument("after", type=Path, help="checkpoint that the run wrote; its config is kept")
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.6, help="share of the new weights, from 0 to 1")
    options = parser.parse_args(arguments)
    if not 0.0 <= options.share <= 1.0:
        parser.error(f"--share must be from 0 to 1, not {options.share}")
    before, after = load_pretrained(options.before), load_pretrained(options.after)
    old, new = before.state_dict(), after.state_dict()
    differing = [
        name for name in sorted(after.trained_names()) if name not in old or old[name].shape != new[name].shape
    ]
    if differing:
        raise CheckpointError(f"the checkpoints have different architectures: {', '.join(differing[:3])} differ")
    averaged = {
        name: torch.lerp(old[name].float(), value.float(), options.share).to(value.dtype)
        if name in after.trained_names() and value.is_floating_point()
        else value
        for name, value in new.items()
    }
    after.load_state_dict(averaged)
    save_pretrained(after, options.out, half=True)


if __name__ == "__main__":
    main()

"""Teach a finished dense model to take examples: fit its exemplar head on images that it was trained on.

python scripts/finish_exemplars.py CHECKPOINT OUT --data DIR --pseudo DIR
promptseg evaluate --model OUT --data DIR --set coco_dev --by-example
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.network import PromptSeg
from promptseg.runtime import build_segmenter
from promptseg.train.pixel_text.exemplars import collect_episodes, fit_exemplars
from promptseg.train.recipe import load_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("finished", type=Path, help="checkpoint that scripts/finish_dense.py wrote")
    parser.add_argument("out", type=Path, help="directory of the checkpoint with exemplars")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/promptseg.py"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pseudo", type=Path)
    parser.add_argument("--images", type=int, default=1200, help="how many training images to draw")
    parser.add_argument("--names", type=int, default=2, help="how many names of each to take")
    parser.add_argument("--hidden-dim", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--engine", default="auto", help="what looks at the images; see promptseg.runtime")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    model = with_exemplars(load_pretrained(options.finished), options.hidden_dim, seed=options.seed)
    source, _ = load_recipe(options.recipe).build_data(options.data, options.pseudo)
    chances = source.chances * [any(target.masks for target in sample.targets) for sample in source.samples]
    rng = np.random.default_rng(options.seed)
    count = min(options.images, np.count_nonzero(chances))
    chosen = rng.choice(len(source.samples), count, replace=False, p=chances / chances.sum())
    samples = [source.samples[index] for index in chosen]
    episodes = collect_episodes(
        build_segmenter(model, options.engine),
        samples,
        source.vocabulary,
        source.stuff,
        max_names=options.names,
        seed=options.seed,
    )
    losses = fit_exemplars(model, episodes, steps=options.steps, seed=options.seed)
    save_pretrained(model, options.out, half=True)
    tenth = max(1, len(losses) // 10)
    report = {
        "images": len(samples),
        "names": len(episodes.examples),
        "examples": sum(map(len, episodes.examples.values())),
        "first_losses": float(np.mean(losses[:tenth])),
        "last_losses": float(np.mean(losses[-tenth:])),
    }
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


def with_exemplars(model: PromptSeg, hidden_dim: int, *, seed: int) -> PromptSeg:
    """Give a model with a dense head an untrained exemplar head, in place of any that it has."""
    assert model.config.dense is not None  # the dense recipe made it
    torch.manual_seed(seed)
    config = replace(model.config, dense=replace(model.config.dense, exemplar_dim=hidden_dim))
    taught = PromptSeg(config, model.image_tower, model.text_tower)
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("exemplar.")}
    taught.load_state_dict({**taught.state_dict(), **own})
    return taught.eval()


if __name__ == "__main__":
    main()

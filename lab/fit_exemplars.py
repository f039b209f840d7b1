"""Train the exemplar head of a finished model, on images that the model was trained on.

python -m lab.fit_exemplars CHECKPOINT OUT --data DIR --pseudo DIR
promptseg evaluate --model OUT --data DIR --set coco_dev --prompt exemplar
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lab import recipe
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.train.finetune import check_model
from promptseg.train.pixel_text.episodes import collect_episodes
from promptseg.train.pixel_text.exemplars import fit_exemplars


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("finished", type=Path, help="checkpoint that lab.fit_presence wrote")
    parser.add_argument("out", type=Path, help="directory of the checkpoint with exemplars")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pseudo", type=Path)
    parser.add_argument("--images", type=int, default=1200, help="number of training images to draw")
    parser.add_argument("--names", type=int, default=2, help="number of names to take from each image")
    parser.add_argument("--hidden-dim", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path, help="directory for the log and state of the run")
    parser.add_argument("--resume", action="store_true", help="continue the run in --run")
    options = parser.parse_args(arguments)

    model = with_exemplars(check_model(load_pretrained(options.finished)), options.hidden_dim, seed=options.seed)
    train, _ = recipe.read(options.data, options.pseudo)
    source = recipe.training().build_source(train)
    probabilities = source.probabilities * [any(target.masks for target in sample.targets) for sample in source.samples]
    rng = np.random.default_rng(options.seed)
    count = min(options.images, np.count_nonzero(probabilities))
    chosen = rng.choice(len(source.samples), count, replace=False, p=probabilities / probabilities.sum())
    samples = [source.samples[index] for index in chosen]
    episodes = collect_episodes(
        model, samples, source.vocabulary, source.stuff, max_names=options.names, seed=options.seed
    )
    losses = fit_exemplars(
        model, episodes, steps=options.steps, seed=options.seed, run_dir=options.run, resume=options.resume
    )
    save_pretrained(model, options.out, half=True)
    tenth = max(1, len(losses) // 10)
    report = {
        "images": len(samples),
        "names": len(episodes.support),
        "examples": sum(map(len, episodes.support.values())),
        "first_losses": float(np.mean(losses[:tenth])),
        "last_losses": float(np.mean(losses[-tenth:])),
    }
    json.dump(report, sys.stdout, indent=2)
    sys.stdout.write("\n")


def with_exemplars(model: PromptSegNetwork, hidden_dim: int, *, seed: int) -> PromptSegNetwork:
    """Return a model with a new, untrained exemplar head."""
    torch.manual_seed(seed)
    config = replace(model.config, exemplar_dim=hidden_dim)
    extended = PromptSegNetwork(config, model.image_tower, model.text_tower)
    own = {name: value for name, value in model.state_dict().items() if not name.startswith("exemplar.")}
    extended.load_state_dict({**extended.state_dict(), **own})
    return extended.eval()


if __name__ == "__main__":
    main()

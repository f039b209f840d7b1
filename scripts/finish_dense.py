"""Finish a dense training run: give the model its vocabulary, and fit the heads on the pictures kept aside.

    python scripts/finish_dense.py RUN/best CHECKPOINT --data DIR --pseudo DIR

Thresholds come after it: promptseg evaluate --fit-thresholds.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from promptseg.data.held_out import training_name
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg import PromptSeg
from promptseg.train.dense.heads import collect_answers, fit_heads
from promptseg.train.recipe import load_recipe

VOCABULARY = ("dense.vocabulary", "dense.names")  # what is as long as the vocabulary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="checkpoint that the dense recipe wrote")
    parser.add_argument("out", type=Path, help="directory of the finished checkpoint")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/promptseg.py"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--pseudo", type=Path)
    parser.add_argument("--pictures", type=int, default=240, help="how many of the pictures kept aside to use")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()

    source, kept = load_recipe(options.recipe).build_data(options.data, options.pseudo)
    model = with_vocabulary(load_pretrained(options.trained), source.vocabulary.names)
    kept = [sample for sample in kept if sample.exhaustive or sample.with_evidence("mask")]
    answers = collect_answers(model, kept[:: max(1, len(kept) // options.pictures)], seed=options.seed)
    report = fit_heads(model, answers, seed=options.seed)
    save_pretrained(model, options.out, half=True)
    json.dump({"pairs": len(answers.present), "present": int(answers.present.sum()), **report}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def with_vocabulary(model: PromptSeg, names: tuple[str, ...]) -> PromptSeg:
    """Give a model with a dense head the names that compete."""
    assert model.config.dense is not None  # the dense recipe made it
    names = tuple(name for name in names if training_name(name) == name)
    config = dataclasses.replace(model.config, dense=dataclasses.replace(model.config.dense, vocabulary=names))
    finished = PromptSeg(config, model.image_tower, model.text_tower)
    state = finished.state_dict()
    state.update({name: value for name, value in model.state_dict().items() if name not in VOCABULARY})
    finished.load_state_dict(state)
    finished.eval()
    finished.set_vocabulary()
    return finished


if __name__ == "__main__":
    main()

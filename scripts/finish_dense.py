"""Finish a dense training run: fit the heads on the images kept aside, and write what the default ships.

    python scripts/finish_dense.py RUN/best CHECKPOINT --data DIR --pseudo DIR --refiner mobile-sam \\
        --peak-margin 2.75
    promptseg evaluate --model CHECKPOINT --data DIR --pseudo DIR --set coco_train --set coco_boxes \\
        --set clothes_train --set carparts_train --set camvid_train --only CHECKPOINT/kept_aside.txt \\
        --fit-thresholds thresholds.json
    python scripts/finish_dense.py CHECKPOINT CHECKPOINT --thresholds thresholds.json
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.train.pixel_text.heads import collect_answers, fit_heads
from promptseg.train.recipe import load_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="checkpoint that the dense recipe wrote")
    parser.add_argument("out", type=Path, help="directory of the finished checkpoint")
    parser.add_argument("--thresholds", type=Path, help="only put these thresholds into the config")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/promptseg.py"))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pseudo", type=Path)
    parser.add_argument("--images", type=int, default=240, help="how many of the images kept aside to use")
    parser.add_argument("--peak-margin", type=float, help="see DenseConfig.peak_margin")
    parser.add_argument("--refiner", choices=("mobile-sam", "sam2-hiera-tiny"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    model = load_pretrained(options.trained).eval()
    if options.thresholds is not None:
        model.config = with_thresholds(model.config, json.loads(options.thresholds.read_text(encoding="utf-8")))
        save_pretrained(model, options.out, half=True)
        return

    _, kept = load_recipe(options.recipe).build_data(options.data, options.pseudo)
    assert model.config.dense is not None and model.dense is not None  # the dense recipe made them
    model.config = replace(model.config, dense=replace(model.config.dense, peak_margin=options.peak_margin))
    model.dense.peak_margin = options.peak_margin
    chosen = [sample for sample in kept if sample.exhaustive or sample.with_evidence("mask")]
    answers = collect_answers(model, chosen[:: max(1, len(chosen) // options.images)], seed=options.seed)
    report = fit_heads(model, answers, seed=options.seed)
    model.config = replace(model.config, refiner=options.refiner)
    save_pretrained(model, options.out, half=True)
    (options.out / "kept_aside.txt").write_text("".join(f"{sample.sample_id}\n" for sample in kept), encoding="utf-8")
    json.dump({"pairs": len(answers.present), "present": int(answers.present.sum()), **report}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def with_thresholds(config: PromptSegConfig, fitted: Mapping[str, Any]) -> PromptSegConfig:
    """Put into a config what `promptseg evaluate --fit-thresholds` wrote."""
    return replace(
        config,
        mask_threshold=fitted["mask_threshold"],
        presence_threshold=fitted["presence_threshold"],
        presence_calibration=tuple(fitted["presence_calibration"]),
    )


if __name__ == "__main__":
    main()

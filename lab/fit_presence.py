"""Finish a training run: calibrate the head on the held-out images, and write what the default ships.

python -m lab.fit_presence RUN/best CHECKPOINT --data DIR --pseudo DIR --refiner mobile-sam --peak-margin 2.75
python -m lab.calibrate --model CHECKPOINT --data DIR --pseudo DIR --set coco_train --set coco_boxes \\
    --set clothes_train --set carparts_train --set camvid_train --only CHECKPOINT/held_out.txt \\
    --out thresholds.json
python -m lab.fit_presence CHECKPOINT CHECKPOINT --thresholds thresholds.json
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab import recipe
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.train.finetune import check_model
from promptseg.train.presence_calibration import calibrate_head, collect_pairs


def main(arguments: list[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trained", type=Path, help="checkpoint that the recipe wrote")
    parser.add_argument("out", type=Path, help="directory of the finished checkpoint")
    parser.add_argument("--thresholds", type=Path, help="only put these thresholds into the config")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pseudo", type=Path)
    parser.add_argument("--images", type=int, default=240, help="number of held-out images to use")
    parser.add_argument("--peak-margin", type=float, help="see PromptSegConfig.peak_margin")
    parser.add_argument("--refiner", choices=("mobile-sam", "sam2-hiera-tiny"))
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of absent names")
    options = parser.parse_args(arguments)
    model = check_model(load_pretrained(options.trained)).eval()
    if options.thresholds is not None:
        model.config = with_thresholds(model.config, json.loads(options.thresholds.read_text(encoding="utf-8")))
        save_pretrained(model, options.out, half=True)
        return

    if options.data is None:
        parser.error("--data is needed to fit the head")
    _, held_out = recipe.read(options.data, options.pseudo)
    model.config = replace(model.config, peak_margin=options.peak_margin)
    model.dense.peak_margin = options.peak_margin
    usable = [sample for sample in held_out if sample.exhaustive or sample.with_evidence("mask")]
    pairs = collect_pairs(model, usable[:: max(1, len(usable) // options.images)], seed=options.seed)
    report = calibrate_head(model, pairs)
    model.config = replace(model.config, refiner=options.refiner)
    save_pretrained(model, options.out, half=True)
    (options.out / "held_out.txt").write_text("".join(f"{sample.sample_id}\n" for sample in held_out), encoding="utf-8")
    json.dump({"pairs": len(pairs.present), "present": int(pairs.present.sum()), **report}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def with_thresholds(config: PromptSegConfig, fitted: Mapping[str, Any]) -> PromptSegConfig:
    """Put the thresholds that `lab.calibrate` wrote into a config."""
    return replace(
        config,
        mask_threshold=fitted["mask_threshold"],
        presence_threshold=fitted["presence_threshold"],
        presence_calibration=tuple(fitted["presence_calibration"]),
        unsure_threshold=None,  # `lab.fit_evidence` chooses it anew
    )


if __name__ == "__main__":
    main()

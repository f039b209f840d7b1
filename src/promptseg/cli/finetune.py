"""`promptseg finetune`: fine-tune the default model on a folder of images and masks."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg._extras import require
from promptseg._wording import counted
from promptseg.cli.checks import check_output_folder, read_mask_value
from promptseg.cli.evaluation import name_problems
from promptseg.cli.loading import load_predictor
from promptseg.cli.options import EngineChoice, MaskValueText, Offline
from promptseg.errors import OutputError

if TYPE_CHECKING:
    from promptseg.train.before_after import HeldOutResults

RECORD, SHEET = "finetune.json", "before-after.png"


def finetune(
    folder: Annotated[
        Path,
        typer.Argument(
            help="Holds images/NAME.jpg and masks/PHRASE/NAME.png, or what autolabel wrote; see docs/data.md."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the new model; it must not exist yet.")],
    model: Annotated[str, typer.Option(help="Start from this model or checkpoint.")] = "promptseg",
    mask_value: MaskValueText = None,
    steps: Annotated[int, typer.Option(min=1, help="Number of updates.")] = 80,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="Peak learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, help="Random seed.")] = 0,
    engine: Annotated[
        EngineChoice, typer.Option(help="Inference engine for the figures before and after; auto takes the fastest.")
    ] = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Fine-tune a model on a folder of images and masks; 50 images take a few minutes on a laptop.

    One image in five is held out; the IoU on these before and after is printed.
    """
    require("lightning_fabric", extra="train")
    from promptseg.data.folder import read_folder
    from promptseg.models.checkpoint import save_pretrained
    from promptseg.models.registry import load_network
    from promptseg.ops.atomic import atomic_directory
    from promptseg.train.before_after import draw_before_after, evaluate_held_out
    from promptseg.train.finetune import FinetuneSettings, check_model, split_images
    from promptseg.train.finetune import finetune as fit
    from promptseg.train.progress import ProgressBar
    from promptseg.weights import progress_bar

    if out.exists():
        raise OutputError(f"{out} exists already: choose another --out")
    check_output_folder(out)
    images = read_folder(folder, mask_value=read_mask_value(mask_value))
    name_problems(images.problems)
    settings = FinetuneSettings(steps=steps, learning_rate=learning_rate, seed=seed)
    parts = split_images([sample for sample in images if sample.targets], one_in=settings.one_in)
    with progress_bar() as report:
        network = check_model(load_network(model, offline=offline, progress=report))
    num_train = len(parts.train) + len(parts.choose)
    typer.echo(
        f"{counted(num_train)} to train on, {len(parts.held_out)} held out, "
        f"{counted(len(images.problems), 'file')} left out",
        err=True,
    )
    before = evaluate_held_out(load_predictor(model, engine=engine.value, offline=offline), parts.held_out)
    with ProgressBar(steps, 0, enabled=True) as bar:
        fitted = fit(network, parts, settings, watch=lambda loss: bar.advance(loss=loss))
    with atomic_directory(out) as unfinished:
        save_pretrained(network, unfinished, half=True)
        after = evaluate_held_out(load_predictor(str(unfinished), engine=engine.value, offline=offline), parts.held_out)
        title = f"{model}, fine-tuned on {counted(num_train)} of {folder.name}"
        draw_before_after(before, after, title=title).save(unfinished / SHEET)
        record = {
            "model": model,
            "steps": steps,
            "learning_rate": learning_rate,
            "seed": seed,
            "loss": [fitted.losses[0], fitted.losses[-1]],
            "logit_shift": fitted.logit_shift,
            "trained_on": [sample.sample_id for sample in (*parts.train, *parts.choose)],
            "held_out": [sample.sample_id for sample in parts.held_out],
            "left_out": [str(problem) for problem in images.problems],
            **{
                when: {"iou": scores.mean_iou, "kept": scores.kept, "ious": scores.ious}
                for when, scores in (("before", before), ("after", after))
            },
        }
        text = json.dumps(record, indent=2, ensure_ascii=False)
        (unfinished / RECORD).write_text(text + "\n", encoding="utf-8")
    typer.echo(describe(before, after))
    typer.echo(f"written: {out} (a model for --model), {out / SHEET}, {out / RECORD}", err=True)


def describe(before: "HeldOutResults", after: "HeldOutResults") -> str:
    """Lay the IoU of each name out in a table, before and after."""
    width = max(len("IoU, mean of held-out"), *(len(name) for name in before.ious))
    lines = [f"{'IoU, mean of held-out':<{width}}  pairs  before  after"]
    for name, ious in before.ious.items():
        later = after.ious[name]
        lines.append(f"{name:<{width}}  {len(ious):>5}  {sum(ious) / len(ious):>6.3f}  {sum(later) / len(later):.3f}")
    num_pairs = sum(map(len, before.ious.values()))
    lines.append(f"{'all':<{width}}  {num_pairs:>5}  {before.mean_iou:>6.3f}  {after.mean_iou:.3f}")
    lines.append(f"{'predicted present':<{width}}  {num_pairs:>5}  {before.kept:>6.1%}  {after.kept:.1%}")
    return "\n".join(lines)

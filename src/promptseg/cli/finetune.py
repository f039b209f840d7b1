"""`promptseg finetune`: the default model, made better at what is in a folder."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg._extras import require
from promptseg.cli.options import EngineChoice, Offline
from promptseg.errors import OutputError

if TYPE_CHECKING:
    from promptseg.train.before_after import Exam

RECORD, SHEET = "finetune.json", "before-after.png"


def finetune(
    folder: Annotated[Path, typer.Argument(help="Holds images/NAME.jpg and masks/PHRASE/NAME.png; see docs/data.md.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Directory of the new model; it must not exist yet.")],
    model: Annotated[str, typer.Option(help="Start from this model or checkpoint.")] = "promptseg",
    steps: Annotated[int, typer.Option(min=1, help="How many updates.")] = 80,
    learning_rate: Annotated[float, typer.Option(min=0.0, help="At its highest; it falls towards the end.")] = 1e-3,
    seed: Annotated[int, typer.Option(min=0, help="Of all chance: crops and their order.")] = 0,
    engine: Annotated[
        EngineChoice, typer.Option(help="What computes the answers before and after; auto takes the fastest.")
    ] = EngineChoice.auto,
    offline: Offline = False,
) -> None:
    """Teach a model the names of a folder of images and masks; a few minutes on a laptop for 50 images.

    One image of five is held out; stdout says how good the model is on these before and after.
    """
    require("lightning_fabric", extra="train")
    from promptseg.data.folder import read_folder
    from promptseg.models.checkpoint import save_pretrained
    from promptseg.models.registry import load_model
    from promptseg.ops.atomic import atomic_file
    from promptseg.predictor import load
    from promptseg.train.before_after import draw_before_after, examine
    from promptseg.train.finetune import FinetuneSettings, check_model, split_images
    from promptseg.train.finetune import finetune as fit
    from promptseg.train.progress import ProgressBar
    from promptseg.weights import progress_bar

    # What is wrong with the request is said before anything is computed.
    if out.exists():
        raise OutputError(f"{out} is there already: choose another --out")
    images = read_folder(folder)
    for problem in images.problems:
        typer.echo(f"left out: {problem}", err=True)
    settings = FinetuneSettings(steps=steps, learning_rate=learning_rate, seed=seed)
    parts = split_images([sample for sample in images if sample.targets], one_in=settings.one_in)
    with progress_bar() as report:
        network = check_model(load_model(model, offline=offline, progress=report))
    num_train = len(parts.train) + len(parts.choose)
    typer.echo(
        f"{num_train} images to learn from, {len(parts.held_out)} held out, {len(images.problems)} files left out",
        err=True,
    )
    before = examine(load(model, engine=engine.value, offline=offline), parts.held_out)
    with ProgressBar(steps, 0, enabled=True) as bar:
        fitted = fit(network, parts, settings, watch=lambda loss: bar.advance(loss=loss))
    save_pretrained(network, out, half=True)
    after = examine(load(out, engine=engine.value, offline=offline), parts.held_out)

    with atomic_file(out / SHEET) as partial:
        draw_before_after(before, after, title=f"{model}, fine-tuned on {num_train} images of {folder.name}").save(
            partial
        )
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
            when: {"iou": exam.mean_iou, "kept": exam.kept, "ious": exam.ious}
            for when, exam in (("before", before), ("after", after))
        },
    }
    with atomic_file(out / RECORD) as partial:
        partial.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    typer.echo(describe(before, after))
    typer.echo(f"written: {out} (a model for --model), {out / SHEET}, {out / RECORD}", err=True)


def describe(before: "Exam", after: "Exam") -> str:
    """Say in a table how good each name is, before and after."""
    width = max(len("IoU, mean of held-out"), *(len(name) for name in before.ious))
    lines = [f"{'IoU, mean of held-out':<{width}}  pairs  before  after"]
    for name, ious in before.ious.items():
        later = after.ious[name]
        lines.append(f"{name:<{width}}  {len(ious):>5}  {sum(ious) / len(ious):>6.3f}  {sum(later) / len(later):.3f}")
    num_pairs = sum(map(len, before.ious.values()))
    lines.append(f"{'all':<{width}}  {num_pairs:>5}  {before.mean_iou:>6.3f}  {after.mean_iou:.3f}")
    lines.append(f"{'said to be there':<{width}}  {num_pairs:>5}  {before.kept:>6.1%}  {after.kept:.1%}")
    return "\n".join(lines)

"""`promptseg pseudo-masks`: turn boxes and names into masks."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from promptseg.cli.images import counted
from promptseg.cli.options import Offline
from promptseg.ops.atomic import atomic_file


def pseudo_masks(
    data: Annotated[Path, typer.Option(help="Directory of the index files and their images.")],
    out: Annotated[Path, typer.Option(help="Directory to write to; a run that was stopped goes on from there.")],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", "--sets", help="Name of a data set; repeat it for more. Default: all that lack masks."),
    ] = None,
    teacher_boxes: Annotated[
        Path | None, typer.Option(help="A detector's boxes, gzipped JSONL; docs/pseudo-masks.md.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first images of each set.")] = None,
    input_side: Annotated[int, typer.Option(help="Pixels of the longer side that MobileSAM sees.")] = 640,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one thread each.")] = 1,
    offline: Offline = False,
) -> None:
    """Make masks for images that have only boxes or names, with MobileSAM.

    --out gets the masks (NAME.jsonl, for --pseudo of train and evaluate), statistics and sheets to look at.

    Exit code 1: some images failed. Each is named on stderr, the others are done.
    """
    from promptseg import weights
    from promptseg.data.jsonl import load_lines
    from promptseg.pseudo_masks.proposals import load_teacher_boxes
    from promptseg.pseudo_masks.report import contact_sheet, statistics
    from promptseg.pseudo_masks.run import MaskerSettings, load_done, mask_set, sets_to_mask

    talk = Console(stderr=True)
    boxes = {} if teacher_boxes is None else load_teacher_boxes(teacher_boxes)
    settings = MaskerSettings(weights.resolve("mobile-sam", offline=offline), input_side)
    num_failed = 0
    summary = {}
    for name in sets or sets_to_mask(data, list(boxes)):
        run = mask_set(
            name,
            data_dir=data,
            out_dir=out,
            settings=settings,
            teacher_boxes=boxes,
            limit=limit,
            num_workers=workers,
        )
        num_images = sum(1 for _ in load_lines(data / f"{name}.jsonl"))
        for record in track(run, name, total=min(num_images, limit or num_images), console=talk):
            if "error" in record:
                num_failed += 1
                talk.print(f"error: {record['image']}: {record['error']}", markup=False, highlight=False)
        made = load_done(out / f"{name}.jsonl")
        summary[name] = statistics(made)
        with atomic_file(out / "statistics" / f"{name}.json") as temporary:
            temporary.write_text(json.dumps(summary[name], indent=1) + "\n", encoding="utf-8")
        with atomic_file(out / "sheets" / f"{name}.jpg") as temporary:
            contact_sheet(made, data).save(temporary, quality=88)
    typer.echo(json.dumps(summary))
    if num_failed:
        typer.echo(f"{counted(num_failed)} failed", err=True)
        raise typer.Exit(1)

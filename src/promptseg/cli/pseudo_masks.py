"""`promptseg pseudo-masks`: turn boxes and names into masks."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from promptseg._wording import counted
from promptseg.cli.checks import check_output_folder
from promptseg.cli.options import Offline


def pseudo_masks(
    data: Annotated[Path, typer.Option(help="Directory of the index files and their images.")],
    out: Annotated[Path, typer.Option(help="Directory to write to; an interrupted run continues there.")],
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set", "--sets", help="Name of an index in --data; repeat it for more. Default: all that lack masks."
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            help="Name of an index to leave out without --set, such as one for evaluation; repeat it for more."
        ),
    ] = None,
    teacher_boxes: Annotated[
        Path | None, typer.Option(help="A detector's boxes, gzipped JSONL; docs/pseudo-masks.md.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first images of each set.")] = None,
    input_side: Annotated[int, typer.Option(help="Longer side of MobileSAM's input, in pixels.")] = 640,
    workers: Annotated[int, typer.Option(min=1, help="Number of processes, of one thread each.")] = 1,
    offline: Offline = False,
) -> None:
    """Make masks for images that have only boxes or names, with MobileSAM.

    Writes masks (NAME.jsonl, for --pseudo of train and evaluate), statistics and contact sheets to --out.

    Exit code 1: some images failed; each is named on stderr.
    """
    from promptseg import weights
    from promptseg.data.jsonl import load_lines
    from promptseg.ops.atomic import atomic_file
    from promptseg.pseudo_masks.proposals import load_teacher_boxes
    from promptseg.pseudo_masks.report import contact_sheet, statistics
    from promptseg.pseudo_masks.run import SamSettings, load_done, mask_set, sets_to_mask

    check_output_folder(out)
    console = Console(stderr=True)
    boxes = {} if teacher_boxes is None else load_teacher_boxes(teacher_boxes)
    weights.resolve("mobile-sam", offline=offline)
    settings = SamSettings(input_side)
    num_failed = 0
    summary = {}
    for name in sets or sets_to_mask(data, list(boxes), exclude=exclude or ()):
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
        for record in track(run, name, total=min(num_images, limit or num_images), console=console):
            if "error" in record:
                num_failed += 1
                console.print(f"error: {record['image']}: {record['error']}", markup=False, highlight=False)
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

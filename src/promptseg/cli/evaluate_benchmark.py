"""`promptseg evaluate-benchmark`: measure a model on a published benchmark."""

from pathlib import Path
from typing import Annotated

import typer

from promptseg.cli.checks import check_device, check_output_file
from promptseg.cli.evaluation import describe_run, name_outputs, name_problems, publish, watch_records
from promptseg.cli.loading import load_predictor
from promptseg.cli.options import (
    BootstrapSeed,
    Device,
    Engine,
    EngineChoice,
    Model,
    Offline,
    PromptChoice,
    ReportFile,
    Resume,
)


def evaluate_benchmark(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="phrasecut, refcoco, refcoco+, refcocog, grefcoco, pascal-5i, coco-20i, pascal-zs, coco-panoptic, "
            "ade20k-panoptic, cityscapes-panoptic, ade20k-150, ade20k-847, pascal-context-59, pascal-context-459, "
            "voc-20, voc-21 or cityscapes.",
        ),
    ],
    data: Annotated[Path, typer.Option(help="Directory of the benchmark's data, as its authors distribute it.")],
    split: Annotated[
        str | None, typer.Option(help="Split, such as val, unc/testA or unseen-4. Default: the usual one.")
    ] = None,
    fold: Annotated[
        int | None, typer.Option(help="Fold of pascal-5i or coco-20i. Default: all four, and their mean.")
    ] = None,
    prompt: Annotated[
        PromptChoice | None, typer.Option(help="Kind of prompt. Default: the usual one of the benchmark.")
    ] = None,
    names: Annotated[
        Path | None,
        typer.Option(help="Text file of the classes, one per line, for ade20k-847 and pascal-context-459."),
    ] = None,
    model: Model = None,
    out: ReportFile = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Use only the first images, or the first episodes of each fold.")
    ] = None,
    device: Device = "auto",
    engine: Engine = EngineChoice.auto,
    seed: BootstrapSeed = 0,
    resume: Resume = False,
    offline: Offline = False,
) -> None:
    """Measure a model on a published benchmark, beside the published results.

    Nothing is downloaded; docs/data.md describes where each benchmark's files must lie.

    Exit code 1: some images failed; each is named on stderr.
    """
    check_device(device)
    check_output_file(out)

    from promptseg.evaluate.benchmarks.benchmark_table import find_benchmark
    from promptseg.evaluate.benchmarks.run_benchmark import load_benchmark, run_benchmark

    benchmark = find_benchmark(name)
    selection = benchmark.select(data, split=split, prompt=prompt, fold=fold, limit=limit, names=names)
    loaded = load_benchmark(benchmark, selection)
    name_problems(loaded.problems)

    predictor = load_predictor(model, device=device, engine=engine.value, offline=offline)
    report = run_benchmark(
        predictor,
        selection,
        loaded,
        run=describe_run(predictor, model, seed),
        outputs=name_outputs(name, out=out, resume=resume),
        watch=watch_records(name, len(loaded.examples)),
    )
    publish([report], out, problems=loaded.problems)

"""Run one model on one benchmark: records and report."""

from dataclasses import replace

from promptseg.errors import DataError
from promptseg.evaluate.benchmarks.benchmark import Benchmark, BenchmarkSelection, LoadedBenchmark
from promptseg.evaluate.benchmarks.published_results import find_published
from promptseg.evaluate.evaluate_set import Outputs, Watch, collect_records
from promptseg.evaluate.report import EvaluationRun, Report, build_report
from promptseg.evaluate.runner import PhraseSegmenter


def load_benchmark(benchmark: Benchmark, selection: BenchmarkSelection) -> LoadedBenchmark:
    """Read the selected part of a benchmark.

    Raises:
        DataError: A file is missing or malformed, or the part has no query.
    """
    loaded = benchmark.load(selection)
    if not loaded.examples:
        first = f"; for example, {loaded.problems[0]}" if loaded.problems else ""
        raise DataError(f"{selection.root}: {benchmark.name} {selection.split} has no usable query{first}")
    return loaded


def run_benchmark(
    model: PhraseSegmenter,
    selection: BenchmarkSelection,
    loaded: LoadedBenchmark,
    *,
    run: EvaluationRun,
    outputs: Outputs,
    watch: Watch = iter,
) -> Report:
    """Run a model on all examples of a benchmark, write the records, and build the report.

    Args:
        model: The model.
        selection: The selected part.
        loaded: Its data.
        run: Describes the model in the report.
        outputs: Files to write.
        watch: Sees every record.

    Raises:
        OutputError: A file can't be written.
        DataError: The file to resume from holds no records.
        UnsupportedPromptError: The model does not take this kind of prompt.
    """
    answering = model if loaded.adapt is None else loaded.adapt(model)
    records = collect_records(answering, loaded.examples, run=run, outputs=outputs, watch=watch)
    report = build_report(selection.title, records, run, define=loaded.define)
    return replace(report, published=find_published(selection.benchmark, selection.split, selection.prompt))

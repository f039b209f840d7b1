"""One run of a benchmark: what was chosen, one model, one report."""

from dataclasses import replace

from promptseg.errors import DataError
from promptseg.evaluate.benchmarks.exam import Benchmark, Choice, Exam
from promptseg.evaluate.benchmarks.published import find_published
from promptseg.evaluate.report import Report, Run, build_report
from promptseg.evaluate.runner import PhraseSegmenter
from promptseg.evaluate.session import Outputs, Watch, collect_records


def load_exam(benchmark: Benchmark, choice: Choice) -> Exam:
    """Read what was chosen.

    Raises:
        DataError: A file is missing or malformed, or there is nothing to ask.
    """
    exam = benchmark.load(choice)
    if not exam.sheets:
        first = f"; for one, {exam.problems[0]}" if exam.problems else ""
        raise DataError(f"{choice.root}: nothing of {benchmark.name} {choice.split} can be asked{first}")
    return exam


def run_benchmark(
    model: PhraseSegmenter, choice: Choice, exam: Exam, *, run: Run, outputs: Outputs, watch: Watch = iter
) -> Report:
    """Ask a model everything, write the records, and sum up.

    Args:
        model: Who is asked.
        choice: What was chosen.
        exam: What is asked.
        run: What the report says of the model.
        outputs: Where the records go; a gallery is not drawn.
        watch: Sees every record.

    Raises:
        OutputError: A file can't be written.
        DataError: The records to go on from are not records.
        UnsupportedPromptError: The model does not take this kind of prompt.
    """
    records = collect_records(model, exam.sheets, run=run, outputs=outputs, watch=watch)
    report = build_report(choice.title, records, run, define=exam.define)
    return replace(report, published=find_published(choice.benchmark, choice.split, choice.prompt))

"""Run a model on the examples of a data set, one image after the other, and score its predictions."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from promptseg.data.sample import Sample
from promptseg.errors import DataError, ImageError, PromptError, UnsupportedPromptError
from promptseg.evaluate.labeled_queries import LabeledQuery, build_labeled_queries, digest_queries
from promptseg.evaluate.records import ImageRecord, PairRecord
from promptseg.evaluate.scoring import QueryPrediction, score_labeling, score_queries
from promptseg.prompts import QueryLike

ScoreExample = Callable[[Sequence[LabeledQuery], Sequence[QueryPrediction]], Sequence[PairRecord]]
"""Compares the predictions for one image with the ground truth; one record per query."""


class PhraseSegmenter(Protocol):
    """The model under evaluation: `promptseg.Predictor`, or anything else that segments phrases.

    Some benchmarks also use example images as prompts.
    """

    def encode(self, image: Path | bytes, /) -> Any:
        """Encode an image once."""

    def segment(self, embedding: Any, queries: Sequence[QueryLike], /) -> Sequence[QueryPrediction]:
        """Predict a mask for each query, in the order of the queries."""


@dataclass(frozen=True, eq=False)
class EvaluationExample:
    """One image and its queries. No file is read before the example is run.

    Attributes:
        sample_id: Id of the image; unique among the examples of an evaluation.
        image: The image file, or its encoded bytes.
        load_queries: Reads the ground truth, and the exemplar images where there are any.
        score: Compares the predictions with the ground truth.
        sequence: The video the image was taken from, or None.
    """

    sample_id: str
    image: Path | bytes
    load_queries: Callable[[], Sequence[LabeledQuery]]
    score: ScoreExample
    sequence: str | None = None


def evaluate_samples(
    model: PhraseSegmenter,
    samples: Iterable[Sample],
    *,
    class_names: Sequence[str] = (),
    run_id: str = "",
    done: Mapping[str, ImageRecord] | None = None,
) -> Iterator[ImageRecord]:
    """Evaluate a model on annotated images.

    Args:
        model: The model.
        samples: Annotated images.
        class_names: Names that together label every pixel, for class IoU; empty where there are none.
        run_id: See `evaluate_examples`.
        done: See `evaluate_examples`.

    Yields:
        One record per sample, in order, as `evaluate_examples` does.
    """
    return evaluate_examples(model, sample_examples(samples, class_names=class_names), run_id=run_id, done=done)


def sample_examples(samples: Iterable[Sample], *, class_names: Sequence[str] = ()) -> Iterator[EvaluationExample]:
    """Make an example of every annotated image; `build_labeled_queries` gives its queries."""
    for sample in samples:
        load_queries = partial(build_labeled_queries, sample, class_names=class_names)
        score = score_labeling if class_names else score_queries
        yield EvaluationExample(sample.sample_id, sample.image, load_queries, score, sample.sequence)


def evaluate_examples(
    model: PhraseSegmenter,
    examples: Iterable[EvaluationExample],
    *,
    run_id: str = "",
    done: Mapping[str, ImageRecord] | None = None,
) -> Iterator[ImageRecord]:
    """Run a model on one example after the other and score it.

    Args:
        model: The model.
        examples: Images with their queries.
        run_id: Names the model, checkpoint, thresholds and engine; differs whenever a prediction might differ.
        done: Records of an earlier run by sample id. A record is reused if image, queries and run id are the same.

    Yields:
        One record per example, in order. If an image can't be read or scored, its record holds the error. An error
        of the model itself ends the evaluation, and so does a kind of prompt that the model does not take.
    """
    for example in examples:
        try:
            queries = example.load_queries()
            digest = digest_queries(example.image, queries)
            earlier = (done or {}).get(example.sample_id)
            if earlier is not None and (earlier.digest, earlier.run_id) == (digest, run_id):
                yield earlier
                continue
            started = time.perf_counter()
            predictions = predict(model, example.image, queries)
            seconds = time.perf_counter() - started
        except UnsupportedPromptError:
            raise
        except (ImageError, DataError, PromptError, OSError) as error:
            yield ImageRecord(example.sample_id, example.sequence, error=f"{type(error).__name__}: {error}")
            continue
        pairs = tuple(example.score(queries, predictions))
        yield ImageRecord(example.sample_id, example.sequence, digest, run_id, seconds, pairs)


def predict(model: PhraseSegmenter, image: Path | bytes, queries: Sequence[LabeledQuery]) -> Sequence[QueryPrediction]:
    """Encode an image and segment it by all queries at once.

    Returns:
        One prediction per query. Without queries the image is not read and the result is empty.

    Raises:
        PromptsegError: The image can't be read, its size differs from that of its annotation, or the model rejects a
            query.
    """
    if not queries:
        return ()
    predictions = model.segment(model.encode(image), [query.request for query in queries])
    for query, prediction in zip(queries, predictions, strict=True):
        if prediction.mask.shape != query.truth.shape:
            raise DataError(
                f"the image is {prediction.mask.shape} (height, width), its annotation {query.truth.shape}; "
                "an annotation is in the pixels of the stored image"
            )
    return predictions

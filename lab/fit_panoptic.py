"""Fit the weights that score the proposals of a panoptic map, on pictures with stuff of a training set.

python -m lab.fit_panoptic --data DATA --set coco_train --out panoptic.json

For each kind of proposal (objects, parts, stuff) a logistic regression says how likely its mask is to match a true
segment of its class (IoU above .5) from what `Evidence` holds. Evaluation sets are refused. The settings of the default
model (`models/promptseg/settings.py`) hold the result. The pictures were trained on, so presence is surer on them than
on new ones; among those that training left out, too few have stuff to fit on.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, astuple, fields
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.optimize import minimize

from lab.sets import load_training_set
from promptseg.data.sample import SampleSet
from promptseg.data.true_segments import TrueSegments, build_true_segments, list_classes
from promptseg.images import read_image
from promptseg.loading import load
from promptseg.models.segment_proposals import Evidence, EvidenceWeights, MaskProposal, ask_classes, iterate_proposals
from promptseg.predictor import Predictor
from promptseg.results import Instance

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

MATCH_IOU = 0.5
# Of the squared weights of standardized evidence, as scikit-learn's C = 1.
PENALTY = 0.5
MAX_MARGIN = 8.0


@app.command()
def fit_panoptic(
    data: Annotated[Path, typer.Option(help="Directory of the index files and their images.")],
    set_name: Annotated[str, typer.Option("--set", help="Name of a training set.")] = "coco_train",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the weights (JSON) here too.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use only the first pictures.")] = None,
) -> None:
    """Fit the weights that score the proposals of a panoptic map."""
    examples: dict[str, list[tuple[Evidence, bool]]] = defaultdict(list)
    for kind, evidence, is_match in iterate_examples(load(), load_training_set(set_name, data), limit):
        examples[kind].append((evidence, is_match))
    fitted = {kind: fit_weights(rows) for kind, rows in examples.items()}
    for kind, rows in examples.items():
        typer.echo(f"{kind}: {len(rows)} proposals, {np.mean([match for _, match in rows]):.1%} match", err=True)
    document = json.dumps({kind: asdict(weights) for kind, weights in fitted.items()}, indent=1)
    typer.echo(document)
    if out is not None:
        out.write_text(document + "\n", encoding="utf-8")


def iterate_examples(
    predictor: Predictor, samples: SampleSet, limit: int | None
) -> Iterator[tuple[str, Evidence, bool]]:
    """Yield kind, evidence and whether it matches, for every proposal on the pictures that have stuff."""
    classes = list_classes(samples)
    chosen = [sample for sample in samples if any(target.kind == "stuff" for target in sample.targets)][:limit]
    with typer.progressbar(chosen, file=typer.get_text_stream("stderr")) as watched:
        for sample in watched:
            truth = build_true_segments(sample, classes)
            encoded = predictor.segmenter.encode_image(read_image(sample.image))
            answers = ask_classes(
                predictor.segmenter, encoded, classes, presence_threshold=predictor.presence_threshold
            )
            for proposal in iterate_proposals(answers, classes, sample.size_hw, MAX_MARGIN):
                is_match = matches(proposal, truth)
                if is_match is not None:
                    yield proposal.kind, proposal.evidence, is_match


def matches(proposal: MaskProposal, truth: TrueSegments) -> bool | None:
    """Whether a proposal's mask matches a true segment of its class; None: most of it lies where no truth is known."""
    mask = draw(proposal, (truth.ids.shape[0], truth.ids.shape[1]))
    inside = np.bincount(truth.ids[mask], minlength=int(truth.ids.max()) + 1)
    areas = np.bincount(truth.ids.ravel())
    for number, class_index in truth.class_of_id.items():
        if class_index == proposal.class_index and number not in truth.crowd_ids:
            union = mask.sum() + areas[number] - inside[number] - inside[0]
            if inside[number] > MATCH_IOU * union:
                return True
    return None if inside[0] > 0.5 * mask.sum() else False


def draw(proposal: MaskProposal, size_hw: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw the mask of a proposal at the size of the picture."""
    if isinstance(proposal.mask, Instance):
        return proposal.mask.mask
    rows, columns = (np.arange(side) * cells // side for side, cells in zip(size_hw, proposal.mask.shape, strict=True))
    return proposal.mask[np.ix_(rows, columns)] >= 0


def fit_weights(rows: list[tuple[Evidence, bool]]) -> EvidenceWeights:
    """Fit a logistic regression with a small penalty on standardized evidence."""
    values = np.array([astuple(evidence) for evidence, _ in rows])
    target = np.array([match for _, match in rows], dtype=float)
    mean, scale = values.mean(axis=0), values.std(axis=0)
    used = scale > 0
    scaled = (values[:, used] - mean[used]) / scale[used]

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, bias = parameters[:-1], parameters[-1]
        logits = scaled @ weights + bias
        error = 1 / (1 + np.exp(-logits)) - target
        value = np.logaddexp(0, logits).sum() - logits @ target + PENALTY * weights @ weights
        return float(value), np.append(scaled.T @ error + 2 * PENALTY * weights, error.sum())

    found = minimize(loss, np.zeros(used.sum() + 1), jac=True, method="L-BFGS-B").x
    weights = np.zeros(len(scale))
    weights[used] = found[:-1] / scale[used]
    names = [field.name for field in fields(Evidence)]
    bias = float(found[-1] - weights @ mean)
    return EvidenceWeights(**dict(zip(names, weights.round(3).tolist(), strict=True)), bias=round(bias, 3))


if __name__ == "__main__":
    app()

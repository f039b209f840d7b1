"""Fit the weights that score the proposals of a panoptic map, on training pictures with stuff.

python -m lab.fit_panoptic CHECKPOINT --data DATA [--write]

For each kind of proposal (objects, parts, stuff) a logistic regression says how likely its mask is to match a true
segment of its class (IoU above .5) from what `Evidence` holds. Every picture is asked for all classes of its set.
Evaluation sets are refused. The weights are in the config of the checkpoint. Most pictures were trained on, so presence
is surer on them than on new ones; among those that training left out, too few have stuff to fit on.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, astuple, fields, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from scipy.optimize import minimize

from lab.sets import load_training_set, read_image_list
from promptseg.data.sample import SampleSet
from promptseg.data.true_segments import TrueSegments, build_true_segments, list_classes
from promptseg.images import read_image
from promptseg.loading import load
from promptseg.models.checkpoint import load_pretrained, save_pretrained
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.segment_proposals import Evidence, EvidenceWeights, MaskProposal, ask_classes, iterate_proposals
from promptseg.predictor import Predictor
from promptseg.results import Instance
from promptseg.train.finetune import check_model

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

IMAGES = Path(__file__).with_name("panoptic_images.txt")
MATCH_IOU = 0.5
# Of the squared weights of standardized evidence, as scikit-learn's C = 1.
PENALTY = 0.5


@app.command()
def fit_panoptic(
    checkpoint: Annotated[Path, typer.Argument(help="Directory of the checkpoint.")],
    data: Annotated[Path, typer.Option(help="Directory of the index files and their images.")],
    images: Annotated[Path, typer.Option(help="List of training images to fit on.")] = IMAGES,
    write: Annotated[bool, typer.Option("--write", help="Write the weights into the checkpoint.")] = False,
) -> None:
    """Fit the weights that score the proposals of a panoptic map, and print them as JSON."""
    listed = read_image_list(images)
    sets = [load_training_set(name, data) for name in sorted({image.partition("/")[0] for image in listed})]
    predictor = load(checkpoint)
    config = predictor.config
    if not isinstance(config, PromptSegConfig):
        raise typer.BadParameter(f"{checkpoint} is no model of the default's architecture")
    settings = config.settings.panoptic
    examples: dict[str, list[tuple[Evidence, bool]]] = defaultdict(list)
    for samples in sets:
        for kind, evidence, is_match in iterate_examples(predictor, samples, listed, settings.max_margin):
            examples[kind].append((evidence, is_match))
    fitted = {kind: fit_weights(rows) for kind, rows in examples.items()}
    for kind, rows in examples.items():
        typer.echo(f"{kind}: {len(rows)} proposals, {np.mean([match for _, match in rows]):.1%} match", err=True)
    typer.echo(json.dumps({kind: asdict(weights) for kind, weights in fitted.items()}, indent=1))
    if write:
        model = check_model(load_pretrained(checkpoint))
        model.config = replace(config, settings=replace(config.settings, panoptic=replace(settings, **fitted)))
        save_pretrained(model, checkpoint, half=True)


def iterate_examples(
    predictor: Predictor, samples: SampleSet, listed: frozenset[str], max_margin: float
) -> Iterator[tuple[str, Evidence, bool]]:
    """Yield kind, evidence and whether it matches, for every proposal on the listed pictures."""
    classes = list_classes(samples)
    chosen = [sample for sample in samples if sample.sample_id in listed]
    with typer.progressbar(chosen, file=typer.get_text_stream("stderr")) as watched:
        for sample in watched:
            truth = build_true_segments(sample, classes)
            encoded = predictor.segmenter.encode_image(read_image(sample.image))
            answers = ask_classes(
                predictor.segmenter, encoded, classes, presence_threshold=predictor.presence_threshold
            )
            for proposal in iterate_proposals(answers, classes, sample.size_hw, max_margin):
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

"""Plots of a run: curves from its log, and from its validation examples two plots and a gallery."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from promptseg.evaluate.gallery import Tile, draw_sheet
from promptseg.ops.atomic import atomic_file
from promptseg.train.log import LOG_FILE, read_log
from promptseg.train.recipe import ValidationExample

_INK, _FAINT, _TRAIN, _VALIDATION = "#1f2328", "#9aa0a8", "#5b7fb5", "#d1603d"
_GALLERY_TILES = 8
_MOST_WORDS = 12  # longer phrases share the last column


@dataclass
class _Gallery:
    """The best and the worst examples so far; only their images stay in memory."""

    best: list[tuple[float, int, ValidationExample]] = field(default_factory=list)
    worst: list[tuple[float, int, ValidationExample]] = field(default_factory=list)

    def add(self, number: int, example: ValidationExample) -> None:
        """Keep an example if it belongs to either; of equal ones the earlier."""
        for heap, key in ((self.best, example.iou), (self.worst, -example.iou)):
            push = heapq.heappush if len(heap) < _GALLERY_TILES else heapq.heappushpop
            push(heap, (key, -number, example))

    def sections(self) -> dict[str, list[Tile]]:
        """Return tiles by heading, the most extreme first."""
        heaps = {"best": self.best, "worst": self.worst}
        return {name: [_tile(example) for _, _, example in sorted(heap, reverse=True)] for name, heap in heaps.items()}


def draw_run(out_dir: Path, examples: Iterator[ValidationExample]) -> None:
    """Draw the plots of a run into `plots/`.

    These are loss.png; iou.png, if validation measures it; and, from examples, iou_distribution.png, prompt_length.png
    and gallery.png.

    Args:
        out_dir: Directory of the run, with its log.
        examples: Predictions of the best model; may be empty.

    Raises:
        OutputError: An image can't be written.
    """
    lines = read_log(out_dir / LOG_FILE)
    _save(_draw_losses(lines), out_dir / "plots" / "loss.png")
    if any("iou" in line for line in lines if line["kind"] == "validation"):
        _save(_draw_ious(lines), out_dir / "plots" / "iou.png")
    ious, num_words, gallery = [], [], _Gallery()
    for number, example in enumerate(examples):
        ious.append(example.iou)
        num_words.append(len(example.phrase.split()))
        gallery.add(number, example)
    if not ious:
        return
    _save(_draw_distribution(np.array(ious)), out_dir / "plots" / "iou_distribution.png")
    _save(_draw_lengths(np.array(num_words), np.array(ious)), out_dir / "plots" / "prompt_length.png")
    sheet = draw_sheet(gallery.sections(), title=f"{len(ious)} validation phrases: the best and the worst")
    with atomic_file(out_dir / "plots" / "gallery.png") as partial:
        sheet.save(partial)


def _draw_losses(lines: Sequence[dict[str, Any]]) -> Figure:
    """Draw training loss (thin), its running mean, and validation loss."""
    figure, axes = _new_figure("Loss", "epoch", "loss")
    epochs, losses = _series(lines, "train", "loss")
    axes.plot(epochs, losses, color=_TRAIN, linewidth=0.8, alpha=0.35)
    width = max(1, len(losses) // 25)
    if width > 1:
        smooth = np.convolve(losses, np.ones(width) / width, mode="valid")
        axes.plot(epochs[width - 1 :], smooth, color=_TRAIN, label=f"training (mean of {width} log lines)")
    else:
        axes.plot(epochs, losses, color=_TRAIN, label="training")
    epochs, losses = _series(lines, "validation", "loss")
    if len(losses):
        axes.plot(epochs, losses, color=_VALIDATION, marker="o", markersize=4, label="validation")
    axes.legend(frameon=False)
    return figure


def _draw_ious(lines: Sequence[dict[str, Any]]) -> Figure:
    """Draw validation IoU by epoch with the best one marked, and the share above 0.5 if it was measured."""
    figure, axes = _new_figure("Validation IoU", "epoch", "IoU")
    epochs, ious = _series(lines, "validation", "iou")
    axes.plot(epochs, ious, color=_VALIDATION, marker="o", markersize=4, label="mean IoU")
    best = int(ious.argmax())
    axes.annotate(
        f"best {ious[best]:.3f}, epoch {epochs[best]:.3g}",
        (epochs[best], ious[best]),
        xytext=(0, 10),
        textcoords="offset points",
        ha="right" if best > len(ious) / 2 else "left",
        color=_VALIDATION,
    )
    epochs, shares = _series(lines, "validation", "iou_at_50")
    if len(shares):
        axes.plot(epochs, shares, color=_FAINT, marker="o", markersize=3, label="share of phrases with IoU > 0.5")
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, loc="upper left")
    return figure


def _draw_distribution(ious: NDArray[np.floating]) -> Figure:
    """Draw the histogram of IoU over phrases."""
    figure, axes = _new_figure(f"IoU of {len(ious)} validation phrases", "IoU", "phrases")
    axes.hist(ious, bins=np.linspace(0, 1, 21).tolist(), color=_TRAIN, edgecolor="white")
    for name, value, style in (("mean", float(ious.mean()), "-"), ("median", float(np.median(ious)), "--")):
        axes.axvline(value, color=_VALIDATION, linestyle=style, label=f"{name} {value:.3f}")
    axes.set_xlim(0, 1)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False)
    return figure


def _draw_lengths(num_words: NDArray[np.integer], ious: NDArray[np.floating]) -> Figure:
    """Draw IoU against the number of words: a dot per phrase, and the mean of each length with its standard error."""
    figure, axes = _new_figure(
        "Prompt length and IoU", "words in the phrase (line: mean with its error; gray: phrases)", "IoU"
    )
    lengths = np.minimum(num_words, _MOST_WORDS)
    shift = np.random.default_rng(0).uniform(-0.28, 0.28, len(lengths))  # so that dots of equal length don't overlap
    axes.scatter(lengths + shift, ious, s=8, color=_TRAIN, alpha=0.35, linewidths=0)
    present = np.unique(lengths)
    means = [float(ious[lengths == length].mean()) for length in present]
    errors = [float(ious[lengths == length].std() / np.sqrt((lengths == length).sum())) for length in present]
    axes.errorbar(present, means, yerr=errors, color=_VALIDATION, marker="o", markersize=5, capsize=3)
    for length in present:
        axes.annotate(
            f"{int((lengths == length).sum())}", (length, 1.03), ha="center", color=_FAINT, fontsize=8,
            annotation_clip=False,
        )  # fmt: skip
    axes.set_xticks(present, [f"{n}+" if n == _MOST_WORDS else str(n) for n in present])
    axes.set_xlim(present[0] - 0.8, present[-1] + 0.8)
    axes.set_ylim(-0.02, 1.08)
    return figure


def _tile(example: ValidationExample) -> Tile:
    return Tile(
        image_rgb=example.image_rgb,
        truth=example.truth,
        prediction=example.prediction,
        title=example.phrase,
        caption=f"IoU {example.iou:.2f}   predicted {example.predicted_iou:.2f}",
    )


def _series(lines: Sequence[dict[str, Any]], kind: str, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return epochs and values of one number of the log."""
    pairs = [(line["epoch"], line[name]) for line in lines if line["kind"] == kind and name in line]
    values = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return values[:, 0], values[:, 1]


def _new_figure(title: str, x_label: str, y_label: str) -> tuple[Figure, Axes]:
    # Without pyplot there is no global state and no window system: this works in any process and thread.
    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", color=_INK, fontsize=12)
    axes.set_xlabel(x_label, color=_INK)
    axes.set_ylabel(y_label, color=_INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e8eb", linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    with atomic_file(path) as partial:
        figure.savefig(partial)

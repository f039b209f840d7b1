"""Slow versions of published scoring code, written from what it does: one threshold, one pixel list after the other."""

import numpy as np
import torch
from scipy.integrate import simpson, trapezoid


class PublishedScores:
    """What timojl/clipseg's FixedIntervalMetrics computes."""

    def __init__(self):
        self.thresholds = np.linspace(0, 1, 51)[1:-1]
        self.counts = {name: [] for name in ("tp", "fp", "fn", "tn")}
        self.classes = []

    def add(self, probability, truth, valid, class_id):
        scores, labels = torch.from_numpy(probability[valid]), torch.from_numpy(truth[valid])
        order = scores.sort()
        scores, labels = order.values, labels[order.indices]
        row = {name: [] for name in self.counts}
        for threshold in self.thresholds:
            above = torch.where(scores > threshold)[0]
            first = int(above[0]) if len(above) else len(labels)
            misses, hits = int(labels[:first].sum()), int(labels[first:].sum())
            row["fn"].append(misses)
            row["tn"].append(first - misses)
            row["tp"].append(hits)
            row["fp"].append(len(labels) - first - hits)
        for name, values in row.items():
            self.counts[name].append(values)
        self.classes.append(class_id)

    def summed(self, class_id=None):
        chosen = [i for i, each in enumerate(self.classes) if class_id is None or each == class_id]
        return {name: [sum(rows[i][j] for i in chosen) for j in range(49)] for name, rows in self.counts.items()}

    def scores(self):
        c = self.summed()
        pixels = [dict(zip(c, column, strict=True)) for column in zip(*c.values(), strict=True)]
        fgiou = [p["tp"] / (1 + p["tp"] + p["fp"] + p["fn"]) for p in pixels]
        background = [p["tn"] / (1 + p["tn"] + p["fn"] + p["fp"]) for p in pixels]
        by_class = [self.summed(each) for each in set(self.classes)]
        return {
            "fgiou": fgiou,
            "biniou": [0.5 * f + 0.5 * b for f, b in zip(fgiou, background, strict=True)],
            "miou": [
                np.mean([k["tp"][j] / (1 + k["tp"][j] + k["fp"][j] + k["fn"][j]) for k in by_class]) for j in range(49)
            ],
            "ap": self.average_precision(pixels),
        }

    @staticmethod
    def average_precision(pixels):
        made = [p for p in pixels if p["tp"] + p["fp"] > 0]
        points = {(p["tp"] / (1 + p["tp"] + p["fn"]), p["tp"] / (1 + p["tp"] + p["fp"])) for p in made}
        recalls, precisions = zip(*sorted(points, key=lambda point: point[0]), strict=True)
        return old_simps(np.array(precisions), np.array(recalls))


def old_simps(y, x):
    """scipy's `simps` before 1.11 with even="avg", from its documentation, by explicit parabolas."""

    def parabolas(y, x):
        total = 0.0
        for i in range(0, len(x) - 2, 2):
            h0, h1 = x[i + 1] - x[i], x[i + 2] - x[i + 1]
            if h0 and h1:
                fit = np.polynomial.Polynomial.fit(x[i : i + 3], y[i : i + 3], 2).integ()
                total += fit(x[i + 2]) - fit(x[i])
            else:
                total += simpson(y[i : i + 3], x=x[i : i + 3])
        return total

    if len(x) % 2:
        return parabolas(y, x)
    first = trapezoid(y[:2], x=x[:2]) + parabolas(y[1:], x[1:])
    last = trapezoid(y[-2:], x=x[-2:]) + parabolas(y[:-1], x[:-1])
    return (first + last) / 2


def hsnet_scores(episodes):
    """What juhongm999/hsnet's Evaluator and AverageMeter compute, from (mask, truth, ignored, class_id)."""
    intersections, unions = {}, {}
    for mask, truth, ignored, class_id in episodes:
        guess, label = (np.where(ignored, 255, values.astype(int)) for values in (mask, truth))
        for side in (0, 1):
            common = ((guess == label) & (guess == side)).sum()
            either = (guess == side).sum() + (label == side).sum() - common
            intersections.setdefault(class_id, [0, 0])[side] += common
            unions.setdefault(class_id, [0, 0])[side] += either
    classes = list(intersections)
    miou = np.mean([intersections[each][1] / max(unions[each][1], 1) for each in classes])
    both = [
        sum(intersections[each][side] for each in classes) / sum(unions[each][side] for each in classes)
        for side in (0, 1)
    ]
    return {"miou": miou, "fb_iou": np.mean(both)}


def rela_scores(answers):
    """What henghuiding/ReLA's ReferEvaluator computes, from (painted, says_no_target, truth)."""
    intersection = union = total = 0
    with_target = {"TN": 0, "FP": 0}
    without_target = {"TP": 0, "FN": 0}
    reached = dict.fromkeys((0.7, 0.8, 0.9), 0)
    for painted, says_nothing, truth in answers:
        common, either = (painted & truth).sum(), (painted | truth).sum()
        if not truth.any():
            without_target["TP" if says_nothing else "FN"] += 1
            total += 1 if says_nothing else 0
            union += 0 if says_nothing else either
            continue
        with_target["FP" if says_nothing else "TN"] += 1
        common = 0 if says_nothing else common
        iou = common / either
        total += iou
        intersection += common
        union += either
        for level in reached:
            reached[level] += iou >= level
    targeted = sum(with_target.values())
    return {
        "giou": total / len(answers),
        "ciou": intersection / union,
        "t_acc": with_target["TN"] / targeted,
        "n_acc": without_target["TP"] / sum(without_target.values()),
        **{f"pr@{level}": count / targeted for level, count in reached.items()},
    }


def joem_scores(labels, guesses, unseen, num_classes=21, missing=0.0):
    """What cvlab-yonsei/JoEm's Evaluator computes, from label maps with 255 for "ignore".

    With `missing` nan, the same without the classes that are nowhere.
    """
    confusion = np.zeros((num_classes, num_classes))
    for label, guess in zip(labels, guesses, strict=True):
        known = (label >= 0) & (label < num_classes)
        np.add.at(confusion, (label[known], guess[known]), 1)
    with np.errstate(invalid="ignore"):
        iou = np.diag(confusion) / (confusion.sum(axis=1) + confusion.sum(axis=0) - np.diag(confusion))
    iou = np.nan_to_num(iou, nan=missing)
    unseen = sorted(unseen)
    seen = [index for index in range(num_classes) if index not in unseen]
    a, b = np.nanmean(iou[seen]), np.nanmean(iou[unseen])
    return {"miou_seen": a, "miou_unseen": b, "hiou": 2 * a * b / (a + b), "miou": np.nanmean(iou)}

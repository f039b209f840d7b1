"""Join the detections of two detectors of the same names: weighted boxes fusion.

Paper: Solovyev, Wang, Gabruseva 2021, arXiv:1910.13302. Differs: of several boxes of one detector in a group, the best
counts for the score; the paper counts all.

Shapes: V names, K and M detections.
"""

import numpy as np
from numpy.typing import NDArray

from promptseg.detectors.box_selection import MAX_BOX_IOU
from promptseg.ops.boxes import box_areas, pairwise_box_iou

Floats = NDArray[np.float32]
MIN_SCORE = 0.02  # lower scores of a name are left out
NUM_FUSED = 300  # number of detections to keep
# A detector also draws a doubtful box around an object with its surroundings, or around several objects. Chosen on
# training images (lab/experiments.md).
MIN_ENCLOSED, MIN_SURER = 0.8, 2.0


def fuse_detections(first: Floats, second: Floats) -> Floats:
    """Join the detections of two detectors in one image.

    Of each name, the boxes that overlap the best one by more than `MAX_BOX_IOU` are one object: its box is their mean,
    weighted by their scores, and its score is the mean of both detectors' best ones, 0 for one that does not see it.
    A box is dropped if it encloses most of a better one, which has at least `MIN_SURER` times its score.

    Args:
        first: Shape (K, 4 + V): left, top, right, bottom in shares of the image's sides, and the score of each name.
        second: The same of the other detector, with any K.

    Returns:
        Shape (M, 4 + V), best first, each with a score for one name; at most `NUM_FUSED`.
    """
    both = np.concatenate([first, second]).astype(np.float64)
    boxes, scores = both[:, :4].clip(0.0, 1.0), both[:, 4:]
    seen, names = np.nonzero(scores >= MIN_SCORE)
    order = np.lexsort((-scores[seen, names], names))
    seen, names = seen[order], names[order]
    weights, detector = scores[seen, names], (seen >= len(first)).astype(np.int64)
    group = _group(boxes[seen], names)
    num_groups = int(group.max(initial=-1)) + 1
    sums, best = np.zeros((num_groups, 4)), np.zeros((num_groups, 2))
    np.add.at(sums, group, weights[:, None] * boxes[seen])
    np.maximum.at(best, (group, detector), weights)
    score = best.mean(axis=1)
    means = sums / np.bincount(group, weights, num_groups)[:, None]
    group_names = names[np.unique(group, return_index=True)[1]]
    order = np.argsort(-score, kind="stable")
    kept = order[~_enclose_surer(means[order], score[order], group_names[order])][:NUM_FUSED]
    fused = np.zeros((len(kept), both.shape[1]), dtype=np.float32)
    fused[:, :4] = means[kept]
    fused[np.arange(len(kept)), 4 + group_names[kept]] = score[kept]
    return fused


def _enclose_surer(
    boxes: NDArray[np.float64], scores: NDArray[np.float64], names: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Find the boxes that enclose most of a much surer one of their name, shape (N,); boxes: best first."""
    encloses = np.zeros(len(boxes), dtype=np.bool_)
    for name in np.unique(names):
        own = np.flatnonzero(names == name)
        one, other = boxes[own, None], boxes[None, own]
        width, height = (
            (np.minimum(one[..., high], other[..., high]) - np.maximum(one[..., low], other[..., low])).clip(min=0)
            for low, high in ((0, 2), (1, 3))
        )
        areas = box_areas(boxes[own])
        is_inside = (width * height >= MIN_ENCLOSED * areas) & (areas > 0)
        encloses[own] = (is_inside & (scores[own] >= MIN_SURER * scores[own, None])).any(axis=1)
    return encloses


def _group(boxes: NDArray[np.float64], names: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the object that each box shows, shape (N,); boxes: sorted by name, then best first, shape (N, 4)."""
    group = np.zeros(len(boxes), dtype=np.int64)
    num_groups = 0
    for own in np.split(np.arange(len(boxes)), np.flatnonzero(np.diff(names)) + 1):
        overlaps = pairwise_box_iou(boxes[own], boxes[own]) > MAX_BOX_IOU
        is_free = np.ones(len(own), dtype=np.bool_)
        for index in range(len(own)):
            if is_free[index]:
                group[own[overlaps[index] & is_free]] = num_groups
                group[own[index]] = num_groups  # a box without an area overlaps not even itself
                is_free &= ~overlaps[index]
                num_groups += 1
    return group

"""Images and results with everything that is hard for a file format: holes, parts, one pixel, nothing, odd names."""

from collections.abc import Mapping, Sequence

import numpy as np

from promptseg.results import Instance, QueryResult, Segmentation

SIZE_HW = (41, 60)
CLASSES = ("cat", 'the dog\'s "ear" & <é>', "none", "猫: #1, 50%")


def disc(x: float, y: float, radius: float, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    rows, columns = np.ogrid[: size_hw[0], : size_hw[1]]
    return np.asarray((columns - x) ** 2 + (rows - y) ** 2 < radius**2)


def make_masks() -> dict[str, list[np.ndarray]]:
    """Masks by class; no two overlap."""
    ring = disc(15, 20, 13) & ~disc(15, 20, 7) | disc(15, 20, 2)
    stairs = np.zeros(SIZE_HW, dtype=bool)
    stairs[2:8, 40:46] = stairs[8:14, 46:52] = stairs[20, 57] = True
    pixel = np.zeros(SIZE_HW, dtype=bool)
    pixel[-1, -1] = True
    noise = np.zeros(SIZE_HW, dtype=bool)
    noise[22:40, 32:58] = np.random.default_rng(0).random((18, 26)) < 0.6
    noise[:, 0] = True
    return {CLASSES[0]: [ring, stairs], CLASSES[1]: [pixel], CLASSES[2]: [], CLASSES[3]: [noise]}


def make_segmentation(
    masks: Mapping[str, Sequence[np.ndarray]], *, size_hw: tuple[int, int] = SIZE_HW, seed: int = 0
) -> Segmentation:
    """A result in which every class has these objects, the first ones the surest."""
    results = []
    for label, objects in masks.items():
        instances = tuple(Instance.from_mask(mask, round(0.9 - 0.1 * i, 3)) for i, mask in enumerate(objects))
        presence = 0.95 if instances else 0.1
        nowhere = np.zeros((2, 2), dtype=np.float32)
        results.append(QueryResult(label, presence, nowhere, size_hw, 0.5, 0.5, instances))
    image_rgb = np.random.default_rng(seed).integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    return Segmentation(image_rgb, tuple(results), "promptseg-test", 0.5, 0.5)


def inside(points_xy: Sequence[Sequence[float]], size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """Whether the center of each pixel lies in a ring, by casting a ray from it: slow, and sure."""
    ring = np.asarray(points_xy, dtype=np.float64)
    rows, columns = np.indices(size_hw)
    x, y = columns + 0.5, rows + 0.5
    is_inside = np.zeros(size_hw, dtype=bool)
    for (x0, y0), (x1, y1) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
        if y0 != y1:
            (x0, y0), (x1, y1) = sorted(((x0, y0), (x1, y1)), key=lambda point: point[1])
            is_inside ^= (y0 <= y) & (y < y1) & (x < x0 + (y - y0) * (x1 - x0) / (y1 - y0))
    return is_inside

"""SA-1B in small: drawn images with nested masks, in the layout of the data set."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from promptseg.ops.rle import encode_rle

SIZE_HW = (64, 96)


def draw_sa1b(root: Path, num_images: int, *, seed: int = 0) -> Path:
    """Draw images of two colored boxes with a part each; a mask for each box, for each part, and for both boxes."""
    rng = np.random.default_rng(seed)
    folder = root / "sa_000000"
    folder.mkdir(parents=True, exist_ok=True)
    height, width = SIZE_HW
    for number in range(num_images):
        image = np.full((height, width, 3), int(rng.integers(90, 160)), dtype=np.uint8)
        wholes, parts = [], []
        for left in (0, width // 2):
            x, y = left + int(rng.integers(2, 10)), int(rng.integers(2, 14))
            whole, part = (np.zeros(SIZE_HW, dtype=np.bool_) for _ in range(2))
            whole[y : y + int(rng.integers(24, 44)), x : x + int(rng.integers(20, 34))] = True
            part[y : y + 12, x : x + 12] = True
            image[whole], image[part] = rng.integers(0, 90, 3), rng.integers(170, 256, 3)
            wholes.append(whole)
            parts.append(part)
        masks = [*wholes, *parts, wholes[0] | wholes[1]]
        Image.fromarray(image).save(folder / f"sa_{number}.jpg", quality=95)
        annotations = [
            {"id": index, "segmentation": encode_rle(mask), "area": int(mask.sum()), "predicted_iou": 0.9,
             "stability_score": 0.95, "bbox": [0, 0, 1, 1], "crop_box": [0, 0, width, height], "point_coords": [[1, 1]]}
            for index, mask in enumerate(masks)
        ]  # fmt: skip
        record = {"image_id": number, "width": width, "height": height, "file_name": f"sa_{number}.jpg"}
        (folder / f"sa_{number}.json").write_text(json.dumps({"image": record, "annotations": annotations}))
    return root

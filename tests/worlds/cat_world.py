"""Noisy images of a bright cat before a sky, with a pseudo-mask of a dog."""

import io

import numpy as np
from PIL import Image

from promptseg.data.sample import Sample, Target
from promptseg.ops.rle import encode_rle


def samples(count: int, dataset: str = "coco_train") -> list[Sample]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        mask = np.zeros((64, 96), dtype=bool)
        mask[16:48, number % 40 : number % 40 + 40] = True
        image = rng.integers(0, 80, (64, 96, 3), dtype=np.uint8)
        image[mask] += 120
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        targets = (
            Target("cat", masks=(encode_rle(mask),)),
            Target("sky", kind="stuff", masks=(encode_rle(~mask),)),
            Target("dog", masks=(encode_rle(mask),), source="made"),
        )
        name = f"{dataset}/{number}.png"
        made.append(Sample(name, stream.getvalue(), (64, 96), targets, exhaustive=frozenset({"cat"}), dataset=dataset))
    return made

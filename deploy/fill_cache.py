"""Fetch the weights of models and compile every graph that a server needs, into $PROMPTSEG_CACHE.

python deploy/fill_cache.py promptseg

A cache that was filled so serves from a file system that is read-only.
"""

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import promptseg
from promptseg import BoxPrompt, ExemplarPrompt, MaskPrompt, PointPrompt, Predictor, Query, TextPrompt
from promptseg.image_files import bundled_image
from promptseg.segmenter import Proposer

# A graph is compiled for each shape of SAM's canvas: wide, high and square.
PHOTOS = ("chelsea", "coffee", "rocket", "astronaut")


def ask_everything(model: Predictor, image_rgb: NDArray[np.uint8]) -> None:
    """Send a request of every kind that the model takes about an image, shape (H, W, 3)."""
    height, width, _ = image_rgb.shape
    middle = PointPrompt(((width / 2, height / 2),))
    drawn = np.zeros((height, width), dtype=np.bool_)
    drawn[height // 4 : height // 2, width // 4 : width // 2] = True
    box = BoxPrompt((width / 4, height / 4, 3 * width / 4, 3 * height / 4))
    asked = [
        Query("words", (TextPrompt("the left cat"),)),
        Query("person", (TextPrompt("person"),)),
        Query("example", (ExemplarPrompt(image_rgb, drawn),)),
        Query("point", (middle,)),
        Query("box", (box,)),
        Query("mask", (MaskPrompt(drawn),)),
        Query("both", (TextPrompt("cat"), middle)),
    ]
    taken = [query for query in asked if {prompt.kind for prompt in query.prompts} <= model.prompt_kinds]
    embedding = model.encode(image_rgb).complete()
    model.segment(embedding, taken, threshold=0.0)
    for query in taken:
        model.segment(embedding, query, threshold=0.0)
    if isinstance(model.segmenter, Proposer):
        model.propose(embedding, Query("point", (middle,)))
    if "text" in model.prompt_kinds:
        model.panoptic(embedding)


def main(names: Sequence[str]) -> None:
    """Fill the cache for models."""
    for name in names:
        model = promptseg.load(name, report_compile=lambda graph: sys.stderr.write(f"compiling {graph}\n"))
        for photo in PHOTOS:
            image_rgb = promptseg.read_image(bundled_image(photo))
            for turned in (image_rgb, np.ascontiguousarray(np.rot90(image_rgb))):
                ask_everything(model, turned)


if __name__ == "__main__":
    main(sys.argv[1:] or ["promptseg"])

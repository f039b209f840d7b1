"""PhraseCut in its own layout, small."""

import json

import numpy as np
from data_trees import SIZE_HW, write_image

from promptseg.data.phrasecut import read_phrasecut


def box_polygon(x0, y0, x1, y1):
    """The corners of a box whose outline is inside the mask, as the data set draws it."""
    return [[x0, y0], [x1 - 1, y0], [x1 - 1, y1 - 1], [x0, y1 - 1]]


def task(image_id, phrase, *instances, noun=None):
    """One task with a polygon per instance."""
    return {
        "task_id": f"{image_id}__{phrase}",
        "image_id": image_id,
        "ann_ids": [1],
        "instance_boxes": [[0, 0, 1, 1]],
        "Polygons": [[polygon] for polygon in instances],
        "phrase": phrase,
        "phrase_structure": {
            "name": noun or phrase.split()[-1],
            "attributes": [],
            "relation_ids": [],
            "relation_descriptions": [],
            "type": "name",
        },
    }


def write_phrasecut(root, tasks, *, split="test", size_hw=SIZE_HW):
    """Write VGPhraseCut_v0 with these tasks, and an image for each of their ids."""
    directory = root / "VGPhraseCut_v0"
    ids = sorted({one["image_id"] for one in tasks})
    for image_id in ids:
        write_image(directory / "images" / f"{image_id}.jpg", size_hw)
    (directory / f"refer_{split}.json").write_text(json.dumps(tasks))
    images = [
        {
            "image_id": one,
            "coco_id": one + 5,
            "flickr_id": None,
            "height": size_hw[0],
            "width": size_hw[1],
            "split": split,
        }
        for one in ids
    ]
    (directory / "image_data_split.json").write_text(json.dumps(images))
    return directory


def crowd(root, num_images=60, size_hw=SIZE_HW):
    """Images of two phrases each: one of six that many share, and one of their own."""
    rng = np.random.default_rng(1)
    tasks = []
    for image_id in range(1, num_images + 1):
        x0, y0 = rng.integers(0, size_hw[1] - 3), rng.integers(0, size_hw[0] - 3)
        polygon = box_polygon(int(x0), int(y0), int(x0) + 3, int(y0) + 3)
        tasks += [task(image_id, f"kind {image_id % 6}", polygon), task(image_id, f"only {image_id}", polygon)]
    write_phrasecut(root, tasks, split="train", size_hw=size_hw)
    return read_phrasecut(root, "train")

"""Convert Detic's published tables of CLIP text vectors for the names of LVIS and Objects365.

Source:
    Zhou et al. 2022, "Detecting Twenty-thousand Classes using Image-level Supervision", arXiv:2201.02605;
    facebookresearch/Detic datasets/metadata (Apache-2.0).
"""

import csv
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from promptseg.errors import WeightsError
from promptseg.weights.convert.checkpoints import write_tensors

NAMES_FILE = "names.json"
VECTORS_FILE = "vectors.safetensors"


def clean_name(name: str) -> str:
    """Convert a name to plain words: "trash_can_(bin)" becomes "trash can"."""
    without_notes = re.sub(r"\(.*?\)", " ", name)
    return " ".join(re.sub(r"[_/]", " ", without_notes).split()).lower()


def convert_name_tables(files: Mapping[str, Path], target: Path) -> None:
    """Join the tables; for a name in both, the vector of LVIS is used.

    Raises:
        WeightsError: A table has another number of names than of vectors.
    """
    categories = sorted(json.loads(files["lvis.json"].read_text(encoding="utf-8")), key=lambda one: one["id"])
    with files["objects365.csv"].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    names = {"lvis": [one["name"] for one in categories], "objects365": [row[1] for row in rows]}
    known: dict[str, np.ndarray] = {}
    for table, listed in names.items():
        # allow_pickle stays False, so the file can hold only an array of numbers
        vectors = np.load(files[f"{table}.npy"])
        if len(vectors) != len(listed):
            raise WeightsError(f"{table}: {len(listed)} names but {len(vectors)} vectors")
        for name, vector in zip(listed, vectors, strict=True):
            known.setdefault(clean_name(name), vector)
    (target / NAMES_FILE).write_text(json.dumps(list(known)) + "\n", encoding="utf-8")
    write_tensors(target / VECTORS_FILE, {"vectors": torch.from_numpy(np.stack(list(known.values())))})

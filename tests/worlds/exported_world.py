"""Exported models as their users run them: run.py in a process that can import neither PyTorch nor promptseg."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# What an environment without promptseg lacks; onnxruntime and openvino bring none of it.
_WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import runpy

sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
ABSENT = ("torch", "transformers", "promptseg", "tokenizers", "scipy", "onnx", "onnxscript", "safetensors")


@dataclass(frozen=True)
class Answered:
    """What run.py printed and wrote.

    Attributes:
        said: Its standard output.
        masks: bool, (H, W), by the file's stem.
    """

    said: str
    masks: dict[str, NDArray[np.bool_]]

    @property
    def presence(self) -> float:
        """The presence that it printed."""
        found = re.search(r"presence ([\d.]+)", self.said)
        assert found is not None, self.said
        return float(found[1])


def run_exported(folder: Path, image_rgb: NDArray[np.uint8], asked: str, scratch: Path) -> Answered:
    """Run an exported model's script on an image, with a phrase or a box."""
    photo, out = scratch / "photo.png", scratch / "masks"
    Image.fromarray(image_rgb).save(photo)
    code = _WITHOUT.format(absent=ABSENT)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder.resolve() / "run.py"), str(photo), asked, str(out)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=scratch,
    )
    assert done.returncode == 0, done.stderr
    masks = {path.stem: np.asarray(Image.open(path)) > 0 for path in out.glob("*.png")}
    return Answered(done.stdout, masks)

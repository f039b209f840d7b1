"""An encoded photo: encode once, ask as often as you like."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, from_numpy, zeros

from promptseg.errors import CheckpointError, DataError
from promptseg.ops.atomic import atomic_file

_FORMAT = "promptseg-embedding-1"
_FEATURE_PREFIX = "feature."


@dataclass(frozen=True, eq=False)
class Embedding:
    """A photo as one model sees it. Nothing in it changes, so threads may share it.

    Attributes:
        model: Name of the model that made it.
        fingerprint: Which checkpoint of that model; another one can't read it.
        image_rgb: The photo, uint8, shape (H, W, 3), upright.
        features: What the model keeps of the photo, by name; shapes are the model's own.
    """

    model: str
    fingerprint: str
    image_rgb: NDArray[np.uint8]
    features: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        # A view: whoever made the array may go on writing to it, nobody can through the embedding.
        image_rgb = self.image_rgb.view()
        image_rgb.flags.writeable = False
        object.__setattr__(self, "image_rgb", image_rgb)
        object.__setattr__(self, "features", MappingProxyType(dict(self.features)))

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the photo, pixels."""
        height, width, _ = self.image_rgb.shape
        return height, width

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file with the photo, the features and where they come from.

        Raises:
            OutputError: The file can't be written.
        """
        path = Path(path)
        tensors = {_FEATURE_PREFIX + name: value.detach().cpu().contiguous() for name, value in self.features.items()}
        tensors["image_rgb"] = from_numpy(self.image_rgb.copy())
        metadata = {"format": _FORMAT, "model": self.model, "fingerprint": self.fingerprint}
        with atomic_file(path) as temporary:
            # Not save_file: it makes files that only their owner can read.
            temporary.write_bytes(save(tensors, metadata))
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Embedding":
        """Read what `save` wrote; `Predictor.segment` checks that it is of its own model.

        Raises:
            DataError: The file is missing, or no embedding.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise DataError(
                        f"{path}: a safetensors file, but no embedding; `Predictor.encode(photo).save(path)` makes one"
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path}: not an embedding that promptseg saved: {error}") from error
        image_rgb = tensors.pop("image_rgb", zeros(0)).numpy()
        if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or not {"model", "fingerprint"} <= metadata.keys():
            raise DataError(f"{path}: an embedding without its image or its model: encode the image again")
        features = {name.removeprefix(_FEATURE_PREFIX): value for name, value in tensors.items()}
        return cls(metadata["model"], metadata["fingerprint"], image_rgb, features)

    def check_made_by(self, model: str, fingerprint: str) -> None:
        """Refuse to be read by another model.

        Raises:
            CheckpointError: The model or its checkpoint is another one.
        """
        if (self.model, self.fingerprint) != (model, fingerprint):
            raise CheckpointError(
                f"the embedding was made by {self.model} (checkpoint {self.fingerprint}), "
                f"this is {model} (checkpoint {fingerprint}): encode the image again"
            )

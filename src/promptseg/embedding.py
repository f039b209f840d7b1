"""Image embeddings: encode an image once, then segment it any number of times."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from promptseg.errors import CheckpointError, DataError
from promptseg.ops.atomic import atomic_file
from promptseg.segmenter import Arrays, DeferredEncoding, EncodedImage

_FORMAT = "promptseg-embedding-2"
_PART_PREFIX = "part."


@dataclass(frozen=True, eq=False)
class SavedImage:
    """The arrays of an encoded image from a file or a pickle; the model rebuilds its record from them.

    Attributes:
        size_hw: Height and width of the image, pixels.
        arrays: Result of `EncodedImage.to_arrays`.
    """

    size_hw: tuple[int, int]
    arrays: Mapping[str, NDArray[Any]]

    def to_arrays(self) -> Arrays:
        """Return the arrays."""
        return dict(self.arrays)


@dataclass(frozen=True, eq=False, repr=False)
class Embedding:
    """An image, encoded by one model. It is immutable, so threads may share it; it can be pickled.

    Attributes:
        model: Name of the model.
        fingerprint: Identity of the model's checkpoint; another checkpoint refuses the embedding.
        image_rgb: The image, uint8, shape (H, W, 3), upright.
        encoded: Record of the encoded image, specific to the model.
        source: Path of the image, if it was a file.
    """

    model: str
    fingerprint: str
    image_rgb: NDArray[np.uint8]
    encoded: EncodedImage
    source: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        # a read-only view: the owner of the array may still write to it, but not through the embedding
        image_rgb = self.image_rgb.view()
        image_rgb.flags.writeable = False
        object.__setattr__(self, "image_rgb", image_rgb)

    def __repr__(self) -> str:
        height, width = self.size_hw
        return f"<Embedding {width}x{height} by {self.model} {self.fingerprint}>"

    def __reduce__(self) -> tuple[Any, ...]:
        saved = SavedImage(self.size_hw, self.encoded.to_arrays())
        return _rebuild, (self.model, self.fingerprint, np.array(self.image_rgb), saved, self.source)

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the image, pixels."""
        height, width, _ = self.image_rgb.shape
        return height, width

    @property
    def features(self) -> Mapping[str, NDArray[Any]]:
        """Arrays of the encoded image, by name; names and shapes depend on the model."""
        return MappingProxyType(self.encoded.to_arrays())

    def complete(self) -> Self:
        """Compute what the model would compute on first use, such as SAM's part of it; return the embedding itself."""
        if isinstance(self.encoded, DeferredEncoding):
            self.encoded.compute_deferred()
        return self

    def save(self, path: str | Path) -> Path:
        """Write one safetensors file with the image, the encoded image, and the model's name and fingerprint.

        Args:
            path: Path of the file.

        Returns:
            The path.

        Raises:
            OutputError: The file can't be written.
        """
        # imported here because most embeddings are never saved
        from safetensors.numpy import save

        path = Path(path)
        arrays = {_PART_PREFIX + name: np.ascontiguousarray(one) for name, one in self.features.items()}
        arrays["image_rgb"] = np.ascontiguousarray(self.image_rgb)
        metadata = {"format": _FORMAT, "model": self.model, "fingerprint": self.fingerprint}
        with atomic_file(path) as temporary:
            # not save_file: it creates files that only their owner can read
            temporary.write_bytes(save(arrays, metadata))
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Embedding":
        """Read a file that `save` wrote; `Predictor.segment` checks that the model is the same.

        Raises:
            DataError: The file is missing, not an embedding, or has the format of an earlier version.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                found = metadata.get("format", "")
                if found != _FORMAT:
                    what = (
                        "an embedding of another version" if found.startswith("promptseg-embedding") else "no embedding"
                    )
                    raise DataError(
                        f"{path}: a safetensors file, but {what}; `Predictor.encode(image).save(path)` writes one"
                    )
                arrays = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as error:
            raise DataError(f"{path}: not an embedding that promptseg saved: {error}") from error
        image_rgb = arrays.pop("image_rgb", np.zeros(0))
        if image_rgb.dtype != np.uint8 or image_rgb.ndim != 3 or not {"model", "fingerprint"} <= metadata.keys():
            raise DataError(f"{path}: an embedding without its image or its model: encode the image again")
        saved = SavedImage(
            (image_rgb.shape[0], image_rgb.shape[1]),
            {name.removeprefix(_PART_PREFIX): one for name, one in arrays.items()},
        )
        return cls(metadata["model"], metadata["fingerprint"], image_rgb, saved)

    def check_made_by(self, model: str, fingerprint: str) -> None:
        """Check that this model encoded the image.

        Raises:
            CheckpointError: Another model or checkpoint encoded it.
        """
        if (self.model, self.fingerprint) != (model, fingerprint):
            raise CheckpointError(
                f"the embedding was made by {self.model} (checkpoint {self.fingerprint}), "
                f"this is {model} (checkpoint {fingerprint}): encode the image again"
            )


def _rebuild(
    model: str, fingerprint: str, image_rgb: NDArray[np.uint8], encoded: EncodedImage, source: str | None
) -> Embedding:
    return Embedding(model, fingerprint, image_rgb, encoded, source=source)

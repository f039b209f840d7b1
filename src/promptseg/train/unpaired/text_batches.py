"""Training batches of images and what their captions say is in them.

Shapes: B images, S side of the canvas in pixels.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from promptseg.data.sample import Sample
from promptseg.errors import DataError, ImageError
from promptseg.images import read_image
from promptseg.language.entities import find_entities
from promptseg.train.batch import move_tensors
from promptseg.train.unpaired.canvas import CanvasView
from promptseg.train.unpaired.mask_batches import MAX_SKIPPED

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TextItem:
    """One view of an image.

    Attributes:
        sample_id: Name of the image.
        image_rgb: Shape (S, S, 3), uint8.
        shown_hw: Part of the canvas that shows the image, pixels.
        entities: Names of what is in it, at least one.
    """

    sample_id: str
    image_rgb: NDArray[np.uint8]
    shown_hw: tuple[int, int]
    entities: tuple[str, ...]


@dataclass(frozen=True)
class TextBatch:
    """B views.

    Attributes:
        images_rgb: Shape (B, S, S, 3), uint8.
        shown_hw: Part of each canvas that shows the image, pixels.
        entities: Names of what is in each image.
        sample_ids: Names of the images.
    """

    images_rgb: Tensor
    shown_hw: tuple[tuple[int, int], ...]
    entities: tuple[tuple[str, ...], ...]
    sample_ids: tuple[str, ...]

    def to(self, device: torch.device) -> Self:
        """Return the same batch with its tensors on another device."""
        return move_tensors(self, device)


class TextSource:
    """Views of captioned images. An image that can't be used is skipped with a logged warning, as in `MaskSource`.

    Args:
        samples: Images with captions.
        side: Side of the canvas, pixels.
        entities: Names by sample id, such as from `data.image_text.load_entities`; those of other images are found in
            their captions by `language.entities.find_entities`.
        flip: Probability of a horizontal flip.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        side: int = 1024,
        entities: Mapping[str, Sequence[str]] | None = None,
        flip: float = 0.5,
    ) -> None:
        self.samples = samples
        self.side = side
        self.entities = dict(entities or {})
        self.flip = flip

    def __len__(self) -> int:
        return len(self.samples)

    def item(self, index: int, rng: np.random.Generator) -> TextItem:
        """Make one view; every random choice comes from `rng`.

        Raises:
            DataError: None of the next images is usable.
        """
        reasons = []
        for step in range(min(MAX_SKIPPED, len(self.samples))):
            try:
                return self._view(self.samples[(index + step) % len(self.samples)], rng)
            except (DataError, ImageError) as error:
                logger.warning("skipped: %s", error)
                reasons.append(str(error))
        raise DataError(f"{len(reasons)} images in a row can't be used; the first: {reasons[0]}")

    def collate(self, items: list[TextItem]) -> TextBatch:
        """Join views into a batch."""
        return TextBatch(
            images_rgb=torch.from_numpy(np.stack([item.image_rgb for item in items])),
            shown_hw=tuple(item.shown_hw for item in items),
            entities=tuple(item.entities for item in items),
            sample_ids=tuple(item.sample_id for item in items),
        )

    def _view(self, sample: Sample, rng: np.random.Generator) -> TextItem:
        given = self.entities.get(sample.sample_id)
        entities = find_entities(sample.captions) if given is None else tuple(dict.fromkeys(given))
        if not entities:
            raise DataError(f"{sample.sample_id}: its captions name nothing that an image can show")
        view = CanvasView.draw(
            sample.size_hw,
            rng,
            side=self.side,
            scale=(1.0, 1.0),
            flip=self.flip,
            color_strengths=(0.0, 0.0, 0.0),
        )
        return TextItem(sample.sample_id, view.place_image(read_image(sample.image)), view.shown_hw, entities)

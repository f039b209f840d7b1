"""Maps of numbers as images: segment ids as colors (COCO panoptic), class indexes as a palette image (Pascal VOC)."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Training code ignores 255.
LARGEST_8_BIT = 254
LARGEST_SEGMENT_ID = (1 << 24) - 1


def encode_segment_ids(segment_ids: NDArray[np.integer]) -> Image.Image:
    """Encode segment ids, shape (H, W), 0 to `LARGEST_SEGMENT_ID`, as colors: id = R + 256 G + 65536 B."""
    ids = segment_ids.astype(np.int64)
    return Image.fromarray((np.stack([ids, ids >> 8, ids >> 16], axis=2) & 255).astype(np.uint8))


def decode_segment_ids(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Decode the colors of `encode_segment_ids`, uint8, shape (H, W, 3 or 4), to ids, shape (H, W).

    Raises:
        ValueError: It is no color image.
    """
    if rgb.ndim != 3 or rgb.shape[2] not in (3, 4):
        raise ValueError(f"segment ids are the colors of an RGB image, not an array of shape {rgb.shape}")
    red, green, blue = np.moveaxis(rgb.astype(np.int32), 2, 0)[:3]
    ids: NDArray[np.int32] = red + 256 * green + 65536 * blue
    return ids


def to_index_image(indexes: NDArray[np.integer], *, num_classes: int) -> Image.Image:
    """Convert class indexes, shape (H, W), 0 for the background, to an image: 8 bits with a palette, or 16 bits.

    Args:
        indexes: From 0 to `num_classes`.
        num_classes: Up to 254, 8 bits hold the indexes, and 255 stays free.
    """
    if num_classes > LARGEST_8_BIT:
        return Image.fromarray(indexes.astype(np.uint16))
    image = Image.fromarray(indexes.astype(np.uint8))
    image.putpalette(index_palette())
    return image


def index_palette() -> list[int]:
    """Return the colors of the indexes 0 to 255 as 768 numbers: those of Pascal VOC, which are easy to tell apart.

    Source: the bits of an index, spread over the three channels; VOCdevkit's VOClabelcolormap.
    """
    colors = np.zeros((256, 3), dtype=np.int64)
    for shift in range(8):
        bits = np.arange(256) >> 3 * shift
        for channel in range(3):
            colors[:, channel] |= (bits >> channel & 1) << 7 - shift
    return list(colors.ravel().tolist())

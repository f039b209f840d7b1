"""Size and normalization of the pixels that CLIPSeg's towers take."""

from promptseg.encoders.pixels import Normalizes, PixelStatistics, fit_size
from promptseg.encoders.tower_facts import IMAGENET_MEAN, IMAGENET_STD, image_tower_facts
from promptseg.models.clipseg.config import ClipSegConfig


def input_side(config: ClipSegConfig) -> int:
    """Return the side of the towers' square input, pixels: the config's, rounded to a multiple of the patch."""
    multiple = image_tower_facts(config.image_tower).multiple
    return fit_size((1, 1), image_size=config.image_size, multiple=multiple, resize="square")[0]


def pixel_statistics(config: ClipSegConfig) -> Normalizes:
    """Return the mean and deviation that normalize the pixels."""
    if config.pixel_statistics == "imagenet":
        return PixelStatistics(IMAGENET_MEAN, IMAGENET_STD)
    return image_tower_facts(config.image_tower)

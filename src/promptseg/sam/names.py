"""The names of promptable segmenters. Nothing here imports numpy: configs hold a name."""

from typing import Literal, get_args

SamName = Literal["mobile-sam", "sam2-hiera-tiny", "sam-vit-base", "sam-test"]
SAM_NAMES: tuple[SamName, ...] = get_args(SamName)

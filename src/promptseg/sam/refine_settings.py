"""When SAM's mask replaces a coarse one. Nothing here imports numpy: configs hold these settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RefineSettings:
    """Which prompts SAM gets, and when its mask is taken.

    Attributes:
        min_score: SAM's estimate of the mask's IoU below which the coarse object stays.
        min_agreement: IoU of refined and coarse object below which the coarse one stays: SAM then masked
            another object, or only a part.
        min_share: Objects smaller than this share of the largest stay as they are.
        coverage: The largest of the others are refined until they make up this share of their area; the rest stay too,
            for they cost as much time and change little.
        max_objects: Only so many of the largest objects of a map are refined.
        num_points: Points in the prompt, beside the box.
        with_mask: Whether the coarse mask is in the prompt too.
    """

    min_score: float = 0.6
    min_agreement: float = 0.5
    min_share: float = 0.05
    coverage: float = 0.9
    max_objects: int = 8
    num_points: int = 3
    with_mask: bool = True

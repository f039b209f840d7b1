"""What the configs of all networks have in common, and how they refuse values that no model has."""

from typing import Literal, Protocol, get_args

Refiner = Literal["mobile-sam", "sam2-hiera-tiny"]


class OperatingPoint(Protocol):
    """From where on a network says yes.

    Attributes:
        mask_threshold: A pixel belongs to the mask from this probability on.
        presence_threshold: A query counts as found from this presence on.
        refiner: The promptable masker that sharpens the coarse mask, or None.
    """

    @property
    def mask_threshold(self) -> float: ...

    @property
    def presence_threshold(self) -> float: ...

    @property
    def refiner(self) -> Refiner | None: ...


def check_operating_point(config: OperatingPoint) -> None:
    """Refuse thresholds and refiners that no model has.

    Raises:
        ValueError: A threshold is no probability, the refiner is unknown, or the threshold leaves it nothing to do.
    """
    check_choices(config, refiner=(None, *get_args(Refiner)))
    for name in ("mask_threshold", "presence_threshold"):
        if not 0.0 <= getattr(config, name) <= 1.0:
            raise ValueError(f"{name} must be a probability in [0, 1], got {getattr(config, name)}")
    if config.refiner is not None and config.mask_threshold in (0.0, 1.0):
        raise ValueError(f"a refiner needs a mask_threshold between 0 and 1, got {config.mask_threshold}")


def check_choices(config: object, **choices: tuple[object, ...]) -> None:
    """Refuse fields that have none of the values they may have.

    Raises:
        ValueError: One has; the message names it and its choices.
    """
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, got {getattr(config, name)!r}")

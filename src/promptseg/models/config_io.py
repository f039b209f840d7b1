"""Build configs from plain data such as JSON, and refuse invalid values. Nothing here imports torch."""

import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, TypeVar, get_args

from promptseg.errors import CheckpointError

Part = TypeVar("Part")
Refiner = Literal["mobile-sam", "sam2-hiera-tiny"]


def build_part(part: type[Part], values: Mapping[str, Any]) -> Part:
    """Build a config, or a part of one, from the result of `dataclasses.asdict`, possibly after a JSON round trip.

    Fields that are dataclasses are built from nested objects.

    Raises:
        CheckpointError: A field is unknown, missing or invalid.
    """
    kinds = typing.get_type_hints(part)
    try:
        return part(**{name: _build_value(kinds.get(name), value) for name, value in values.items()})
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"not a config of this version of promptseg: {error}") from error


def _build_value(kind: Any, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_build_value(None, one) for one in value)  # JSON has no tuples
    if isinstance(value, Mapping):
        for choice in (kind, *get_args(kind)):  # a field may be "Part | None"
            if isinstance(choice, type) and is_dataclass(choice):
                return build_part(choice, value)
    return value


def check_thresholds(config: Any) -> None:
    """Refuse thresholds that are not probabilities.

    Raises:
        ValueError: `mask_threshold` or `presence_threshold` is outside [0, 1].
    """
    for name in ("mask_threshold", "presence_threshold"):
        if not 0.0 <= getattr(config, name) <= 1.0:
            raise ValueError(f"{name} must be a probability in [0, 1], got {getattr(config, name)}")


def check_choices(config: object, **choices: tuple[object, ...]) -> None:
    """Refuse fields whose value is not an allowed choice.

    Args:
        config: The config.
        **choices: The allowed values of each field, by the field's name.

    Raises:
        ValueError: A field has another value; the message names the field and its choices.
    """
    for name, allowed in choices.items():
        if getattr(config, name) not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, got {getattr(config, name)!r}")

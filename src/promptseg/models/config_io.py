"""Build configs from plain data such as JSON, and refuse invalid values. Nothing here imports torch."""

import types
import typing
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Literal, TypeVar, get_args

from promptseg.errors import CheckpointError

Part = TypeVar("Part")
_LARGEST = 1_000_000
Refiner = Literal["mobile-sam", "sam2-hiera-tiny"]


def build_part(part: type[Part], values: Mapping[str, Any]) -> Part:
    """Build a config, or a part of one, from the result of `dataclasses.asdict`, possibly after a JSON round trip.

    Fields that are dataclasses are built from nested objects.

    Raises:
        CheckpointError: A field is unknown, missing or invalid.
    """
    kinds = typing.get_type_hints(part)
    try:
        built = {name: _build_value(kinds.get(name), value) for name, value in values.items()}
        for name, value in built.items():
            if name in kinds and not _fits(kinds[name], value):
                raise ValueError(_describe_misfit(name, kinds[name], value))
        return part(**built)
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


def _fits(kind: Any, value: Any) -> bool:
    """Tell whether a value is of a field's type; numbers are finite, and whole ones no larger than any real size."""
    origin, choices = typing.get_origin(kind), get_args(kind)
    if origin is Literal:
        return any(value is choice or (isinstance(value, str) and value == choice) for choice in choices)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        each = choices[:1] * len(value) if choices[1:] == (...,) else choices
        return len(value) == len(each) and all(map(_fits, each, value))
    if origin in (typing.Union, types.UnionType):
        return any(_fits(choice, value) for choice in choices)
    if kind in (int, float):
        allowed = int if kind is int else int | float
        return isinstance(value, allowed) and not isinstance(value, bool) and abs(value) <= _LARGEST
    return isinstance(value, kind) if isinstance(kind, type) else True


def _describe_misfit(name: str, kind: Any, value: Any) -> str:
    if typing.get_origin(kind) is Literal:
        return f"{name} must be one of {get_args(kind)}, got {value!r:.80}"
    return f"{name} has an invalid value: {value!r:.80}"


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

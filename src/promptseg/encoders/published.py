"""Load models that transformers saved, and refuse incomplete ones."""

from pathlib import Path
from typing import Any

from promptseg.errors import WeightsError


def load_published(model_class: Any, directory: Path, *, what: str, may_hold_more: bool = True, **options: Any) -> Any:
    """Load a model with the loader of transformers, which maps the parameter names of older files.

    Args:
        model_class: A class of transformers.
        directory: Directory that the class saved.
        what: Name of the expected model, for the message.
        may_hold_more: Ignore other weights, such as those of CLIP's other tower, instead of refusing them.
        options: Options of `from_pretrained`.

    Raises:
        WeightsError: The directory lacks a weight, which transformers would leave random, or has unexpected ones.
    """
    model, report = model_class.from_pretrained(directory, local_files_only=True, output_loading_info=True, **options)
    if lacking := sorted(report["missing_keys"]):
        raise WeightsError(f"{directory} does not hold {what}: it lacks {', '.join(lacking[:5])}")
    if not may_hold_more and (others := sorted(report["unexpected_keys"])):
        raise WeightsError(f"{directory} does not hold {what}: it has {', '.join(others[:5])} too")
    return model

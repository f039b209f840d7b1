"""Import optional dependencies on use; the error message contains the command that installs them."""

import importlib
from types import ModuleType

from promptseg.errors import MissingExtraError


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency.

    Args:
        module: Dotted name of the module.
        extra: The extra of this package that installs it.

    Raises:
        MissingExtraError: The module is not installed; the message is the pip command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{module} is not installed; pip install 'promptseg[{extra}]'") from error

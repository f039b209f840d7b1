"""Where libraries keep files of their own."""

import os

from promptseg.cli.checks import check_output_folder
from promptseg.errors import OutputError


def keep_library_caches() -> None:
    """Have PyTorch and matplotlib keep their files in the cache of promptseg.

    They would make folders in the temporary and in the home directory as soon as they are imported. What the user chose
    stays, and where the cache is read-only they do as they always do.
    """
    from promptseg.weights.cache import cache_dir

    try:
        check_output_folder(cache_dir())
    except OutputError:
        return
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_dir() / "torch"))
    os.environ.setdefault("MPLCONFIGDIR", str(cache_dir() / "matplotlib"))

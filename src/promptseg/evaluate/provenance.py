"""The version of the code that computed a metric."""

import subprocess
from pathlib import Path


def git_commit() -> str | None:
    """Find the commit of the running code.

    Returns:
        40 hex digits, "+changes" behind them where tracked files of the package differ; None where the package does not
        lie in a git checkout of its own (it was installed).
    """
    package = Path(__file__).parents[1]
    # A virtual environment may lie inside somebody's repository: only a tracked file shows that it is ours.
    if _git(package, "ls-files", "--error-unmatch", __file__) is None:
        return None
    commit = _git(package, "rev-parse", "HEAD")
    return commit and commit + ("+changes" if _git(package, "status", "--porcelain", "-uno", ".") else "")


def _git(directory: Path, *arguments: str) -> str | None:
    try:
        finished = subprocess.run(
            ["git", "-C", str(directory), *arguments], capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return finished.stdout.strip()

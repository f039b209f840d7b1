"""Old spellings of the command line that keep working until version 0.3."""

from collections.abc import Sequence


def translate(arguments: Sequence[str]) -> tuple[list[str], str | None]:
    """Translate an old spelling into the new one.

    Returns:
        The arguments in the new spelling, and a line for stderr that names it; None where nothing was old.

    Example:
        >>> translate(["evaluate", "--data", "DIR", "--benchmark", "refcoco"])[0]
        ['evaluate-benchmark', 'refcoco', '--data', 'DIR']
        >>> translate(["evaluate", "--data", "DIR", "--fit-thresholds=t.json"])[0]
        ['calibrate', '--data', 'DIR', '--out', 't.json']
        >>> translate(["evaluate", "--data", "DIR"])
        (['evaluate', '--data', 'DIR'], None)
    """
    if not arguments or arguments[0] != "evaluate":
        return list(arguments), None
    benchmark, rest = _take(arguments[1:], "--benchmark")
    if benchmark is not None:
        return ["evaluate-benchmark", benchmark, *rest], _notice("--benchmark NAME", "evaluate-benchmark NAME")
    path, rest = _take(arguments[1:], "--fit-thresholds")
    if path is not None:
        return ["calibrate", *rest, "--out", path], _notice("--fit-thresholds FILE", "calibrate --out FILE")
    return list(arguments), None


def _take(arguments: Sequence[str], option: str) -> tuple[str | None, list[str]]:
    """Take an option and its value out of the arguments; the value is None where the option is not there."""
    for index, argument in enumerate(arguments):
        if argument.startswith(f"{option}="):
            return argument.removeprefix(f"{option}="), [*arguments[:index], *arguments[index + 1 :]]
        if argument == option and index + 1 < len(arguments):
            return arguments[index + 1], [*arguments[:index], *arguments[index + 2 :]]
    return None, list(arguments)


def _notice(old: str, new: str) -> str:
    return f"deprecated: `promptseg evaluate {old}` is now `promptseg {new}`; it will be removed in version 0.3"

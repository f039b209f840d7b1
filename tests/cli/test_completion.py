"""Shell completion: the scripts for the shells, and what they ask the command."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROMPTSEG = [sys.executable, "-c", "from promptseg.cli.main import main; main()"]


def complete(**variables: str) -> str:
    done = subprocess.run(PROMPTSEG, env=os.environ | variables, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("promptseg panop", ["panoptic"]),
        ("promptseg weights pu", ["pull"]),
        ("promptseg predict --engine openvino-", ["openvino-bf16", "openvino-int8"]),
        ("promptseg predict --model langs", ["langsam"]),
        ("promptseg predict --mask-v", ["--mask-value"]),
        ("promptseg predict photo", []),
    ],
)
def test_commands_options_and_values_are_completed(words: str, expected: list[str]) -> None:
    number = str(len(words.split()) - 1)
    bash = complete(_PROMPTSEG_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=number)
    assert bash.split() == expected
    for shell, more in (("zsh", {}), ("fish", {"_TYPER_COMPLETE_FISH_ACTION": "get-args"})):
        said = complete(_PROMPTSEG_COMPLETE=f"complete_{shell}", _TYPER_COMPLETE_ARGS=words, **more)
        assert all(word in said for word in expected), shell


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_printed_and_is_one(shell: str, tmp_path: Path) -> None:
    script = tmp_path / f"promptseg.{shell}"
    script.write_text(complete(_PROMPTSEG_COMPLETE=f"source_{shell}"), encoding="utf-8")
    assert f"_PROMPTSEG_COMPLETE=complete_{shell}" in script.read_text(encoding="utf-8")
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n", str(script)], check=True)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_by_the_script(tmp_path: Path) -> None:
    command = tmp_path / "promptseg"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m promptseg "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    asked = """
        source <(_PROMPTSEG_COMPLETE=source_bash promptseg)
        COMP_WORDS=(promptseg segm); COMP_CWORD=1
        _promptseg_completion promptseg segm promptseg
        echo "${COMPREPLY[@]}"
        complete -p promptseg
    """
    environment = os.environ | {"PATH": os.pathsep.join([str(tmp_path), os.environ["PATH"]])}
    done = subprocess.run(["bash", "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "segment-everything", done.stderr
    assert "-o default" in done.stdout, "files are completed where promptseg has nothing to say"

"""Names of output files are short, unique and traceable, for thousands of equal file names too."""

import pytest

from promptseg.formats.names import OutputNames


def test_equal_names_take_the_folders_that_differ() -> None:
    sources = [f"run/{number:05d}/left/rgb.png" for number in range(10_000)]
    chosen = [OutputNames(sources)] * 10_000
    names = [each.choose(source) for each, source in zip(chosen, sources, strict=True)]
    assert names[7] == "00007-left-rgb" and len(set(names)) == 10_000


def test_without_knowing_what_comes_names_stay_unique_and_short() -> None:
    names = OutputNames()
    chosen = [names.choose(f"{'a long folder ' * 20}/{number}/rgb.png") for number in range(10_000)]
    assert len(set(chosen)) == 10_000 and max(map(len, chosen)) <= 90
    assert chosen[9] == "9-rgb"


def test_paths_that_differ_in_a_sign_only_get_a_checksum() -> None:
    sources = ["a/b?/rgb.png", "a/b:/rgb.png", "A/B*/RGB.png"]
    names = OutputNames(sources)
    chosen = [names.choose(source) for source in sources]
    assert len({name.casefold() for name in chosen}) == 3
    assert all(name.casefold().startswith("b_-rgb-") for name in chosen)
    again = OutputNames(sources[::-1])
    assert {source: again.choose(source) for source in sources} == dict(zip(sources, chosen, strict=True))


@pytest.mark.parametrize("source", ["", "..", "/", ".png", "a/...", "x" * 400, "猫" * 400, "\udcff"])
def test_every_source_gets_a_name_that_files_can_have(source: str) -> None:
    name = OutputNames().choose(source)
    assert name and not name.startswith(".") and len(name.encode()) <= 200 and len(name) <= 90


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("photos/aux.jpg", "_aux"),
        ("CON", "_CON"),
        ("nul.tar.gz", "_nul.tar"),
        ("com1 .png", "_com1"),
        ("trail .jpg", "trail"),
        ("dots...jpg", "dots"),
        ("console.jpg", "console"),
        ("auxiliary.png", "auxiliary"),
    ],
)
def test_names_are_such_that_windows_can_have(source: str, name: str) -> None:
    assert OutputNames().choose(source) == name


def test_names_of_another_unicode_form_clash() -> None:
    composed, decomposed = "a/caf\u00e9.jpg", "b/cafe\u0301.jpg"
    names = OutputNames([composed, decomposed])
    assert [names.choose(composed), names.choose(decomposed)] == ["a-caf\u00e9", "b-cafe\u0301"]

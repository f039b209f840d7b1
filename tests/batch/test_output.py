"""Part files: complete or absent, of one claim, read as they were written."""

from dataclasses import replace
from pathlib import Path

import pytest

from promptseg.batch.attempt import Attempt
from promptseg.batch.output import FORMATS, Claim, Format, open_output, read_rows
from promptseg.batch.rows import Row, error_row
from promptseg.batch.sources import BatchImage
from promptseg.errors import DataError, OutputError

CLAIM = Claim("jsonl", "model", "0123", 0.5, ("cat",), "abcd")


def row(name: str, error: str | None = None) -> Row:
    attempt = Attempt(BatchImage(name, Path(name)), "model", "0123", seconds=0.25)
    failed = error_row(attempt, error or "")
    if error is not None:
        return failed
    found = Row(
        **{**failed, "error": None, "width": 5, "height": 4, "label": "cat", "presence": 0.75, "is_present": True}
    )  # type: ignore[typeddict-item]
    return Row(**{**found, "object": 0, "score": 0.5, "box_xyxy": [1, 0, 3, 2], "mask": "012"})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("format", FORMATS)
def test_rows_are_read_as_they_were_written(format: Format, tmp_path: Path) -> None:
    claim = replace(CLAIM, format=format)
    with open_output(tmp_path, claim) as parts:
        parts.write([row("a"), row("a")])
        parts.write([row("b", "damaged")])
    with open_output(tmp_path, claim) as parts:
        assert parts.ids() == {"a", "b"}
        parts.write([row("c")])
    assert list(read_rows(tmp_path)) == [row("a"), row("a"), row("b", "damaged"), row("c")]
    assert [path.name for path in sorted(tmp_path.glob("part-*"))] == [f"part-00000{n}.{format}" for n in (1, 2, 3)]


@pytest.mark.parametrize("format", FORMATS)
def test_rows_of_failures_are_dropped_to_try_again(format: Format, tmp_path: Path) -> None:
    with open_output(tmp_path, replace(CLAIM, format=format)) as parts:
        parts.write([row("a"), row("b", "damaged")])
        parts.write([row("c", "damaged")])
        assert parts.drop_errors() == 2
        assert parts.ids() == {"a"}
        assert parts.write([row("b")]).stem == "part-000003"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fingerprint": "4567"}, "another checkpoint"),
        ({"labels": ("dog",)}, "another list of labels"),
        ({"queries": "efgh"}, "another request"),
        ({"threshold": 0.25}, "another threshold"),
        ({"format": "parquet"}, "another format"),
    ],
)
def test_another_claim_does_not_go_on(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with open_output(tmp_path, CLAIM) as parts:
        parts.write([row("a")])
    with pytest.raises(OutputError, match=message), open_output(tmp_path, replace(CLAIM, **change)):
        pass
    assert list(read_rows(tmp_path)) == [row("a")]


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").touch()
    with pytest.raises(OutputError, match="holds other files"), open_output(tmp_path, CLAIM):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(DataError, match="can't be read"):
        read_rows(tmp_path)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with (
        open_output(tmp_path, CLAIM),
        pytest.raises(OutputError, match="another process"),
        open_output(tmp_path, CLAIM),
    ):
        pass
    with open_output(tmp_path, CLAIM):
        pass

"""A sample of the hostile corpus; `make test-hostile` reads all of it."""

from pathlib import Path

from run_hostile import judge, predict_folder, summarize, write_corpus

# Reading a case takes a hundredth of a second, a command some tenths.
EVERY = 24


def test_hostile_input_is_refused_by_name_or_answered_as_if_undamaged(tmp_path: Path) -> None:
    cases = write_corpus(tmp_path)
    kinds = [sum(case.path.startswith(kind) for case in cases) for kind in ("images/", "sets/", "checkpoints/")]
    assert kinds[0] == 500 and kinds[1] >= 200 and kinds[2] >= 100
    verdicts = list(judge(tmp_path, cases[::EVERY]))
    report = summarize(verdicts)
    assert report["wrong"] == []
    assert report["peak_mb"] < 1_000
    assert not (tmp_path / "hacked").exists()
    for path in sorted((tmp_path / "images").iterdir())[1::2]:
        if path.is_symlink() or path.is_file():
            path.unlink()
    folder = predict_folder(tmp_path)
    assert folder["wrong"] == []
    assert folder["images"] > 100 and folder["failed"] > 100

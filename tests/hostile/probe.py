"""Reads hostile inputs in a process of its own, with limited memory, and reports what happened.

`Prober` of `run_hostile.py` starts it with the memory limit in bytes. For each line [reader, path] that comes in, one
line of JSON goes out: {"outcome", "digest", "message", "peak_bytes", "seconds"}; seconds of CPU time.
"""

import contextlib
import hashlib
import io
import json
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from published_sets import READERS as PUBLISHED

from promptseg.errors import PromptsegError
from promptseg.image_files import bundled_image

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_MODEL = ("--model", "promptseg-test", "--engine", "torch", "--device", "cpu", "--offline")


class Read(NamedTuple):
    """What a reader returned.

    Attributes:
        values: All that matters of it.
        num_left_out: How many things it left out and named.
    """

    values: Any
    num_left_out: int = 0


def read_image(path: Path) -> Read:
    from promptseg.images import read_image

    pixels = read_image(path)
    assert pixels.dtype == "uint8" and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size
    return Read([pixels.shape, hashlib.sha256(pixels.data).hexdigest()])


def read_mask(path: Path) -> Read:
    from promptseg.images import read_mask

    mask = read_mask(path)
    assert mask.dtype == "bool" and mask.ndim == 2 and mask.size
    return Read([mask.shape, mask.tobytes()])


def read_data_set(path: Path, *, format: str) -> Read:
    """Read a data set that `promptseg.write` wrote."""
    from promptseg.formats.dataset import read

    found = read(path, format=format)
    annotations = [
        [
            each.file_name,
            each.size_hw,
            [(label, one.box_xyxy, one.rle, f"{one.score:.4f}") for label, one in each.objects()],
            [(region.label, region.area.rle) for region in each.regions],
        ]
        for each in sorted(found.annotations, key=lambda annotation: annotation.file_name)
    ]
    return Read([found.classes, annotations], len(found.left_out))


def read_result(path: Path) -> Read:
    from promptseg.results import Segmentation

    found = Segmentation.load(path)
    return Read([(each.label, f"{each.presence:.4f}", each.mask.tobytes(), len(each.instances)) for each in found])


def read_samples(path: Path, *, read: Callable[[Path], Any]) -> Read:
    """Read annotated images with all of their masks."""
    from promptseg.data.sample import target_mask

    found = read(path)
    samples = [
        [
            sample.sample_id,
            sample.size_hw,
            [
                (target.phrase, target_mask(target, sample.size_hw).tobytes() if target.evidence != "tag" else None)
                for target in sample.targets
            ],
            sample.absent,
            sorted(sample.exhaustive),
        ]
        for sample in found
    ]
    return Read(samples, len(found.problems))


def _read_folder(path: Path) -> Any:
    from promptseg.data.folder import read_folder

    return read_folder(path)


def _read_index(path: Path) -> Any:
    from promptseg.data.jsonl import read_jsonl

    return read_jsonl(path / "colors.jsonl")


def _read_phrasecut(path: Path) -> Any:
    from promptseg.data.phrasecut import read_phrasecut

    return read_phrasecut(path, "test")


def _read_refcoco(path: Path) -> Any:
    from promptseg.data.refcoco import read_refcoco

    return read_refcoco(path, "refcoco", "unc", "val")


def _read_grefcoco(path: Path) -> Any:
    from promptseg.data.refcoco import read_grefcoco

    return read_grefcoco(path, "val")


def _read_published(path: Path, *, read: Callable[[Path], tuple[Any, int]]) -> Read:
    return Read(*read(path))


def read_checkpoint(path: Path) -> Read:
    """Load a checkpoint and let it answer."""
    import numpy as np

    import promptseg

    model = promptseg.load(path, engine="torch", device="cpu", offline=True)
    image_rgb = (np.indices((24, 32)).sum(axis=0)[..., None] * np.array([1, 2, 3])).astype(np.uint8)
    found = model.segment(image_rgb, ["cat", "red mug"])
    return Read([(each.label, round(each.presence, 4), each.mask.tobytes()) for each in found])


def read_embedding(path: Path) -> Read:
    from promptseg.embedding import Embedding

    found = Embedding.load(path)
    arrays = [(name, array.tobytes()) for name, array in sorted(found.features.items())]
    return Read([found.model, found.fingerprint, found.image_rgb.tobytes(), arrays])


def read_state(path: Path) -> Read:
    """Read the state of a training run as a resumed run does."""
    from promptseg.train.config import TrainConfig
    from promptseg.train.state import Progress, load_state

    found = load_state(path, config=TrainConfig(steps=3), frozen="frozen")
    return Read([{name: value.tolist() for name, value in found["model"].items()}, vars(Progress(**found["progress"]))])


def read_plain_pickle(path: Path) -> Read:
    from promptseg.data.plain_pickle import load_plain_pickle

    found = load_plain_pickle(path)
    return Read([type(found), len(found) if isinstance(found, list) else found])


def read_torch_pickle(path: Path) -> Read:
    from promptseg.weights.convert.checkpoints import as_state_dict, load_pickle

    found = as_state_dict(load_pickle(path), path.name)
    return Read([(name, value.tolist()) for name, value in sorted(found.items())])


class CommandError(PromptsegError):
    """A command refused its input as it should: by an exit code, and on stderr."""


def run_command(path: Path, *, arguments: tuple[str, ...], argument: str) -> Read:
    """Run a command on a path; what it prints is its answer."""
    from promptseg.cli.main import main

    words = [word.replace("PHOTO", str(bundled_image("coffee"))) for word in (*arguments, argument, str(path))]
    out, err = io.StringIO(), io.StringIO()
    code: object = None
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main(words)
    except SystemExit as exit:
        code = exit.code
    said = err.getvalue()
    assert "Traceback" not in said, said
    assert code in (0, 1, 2), f"exit code {code}"
    if code:
        assert any(line.startswith(("error: ", "Usage")) for line in said.splitlines()), f"exit code {code}: {said!r}"
        raise CommandError(said)
    return Read(out.getvalue(), said.count("left out: "))


def evaluate(path: Path) -> Read:
    """Measure a model on annotated images; the figures are the answer."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ("evaluate", *_MODEL, "--out", str(report))
        answer = run_command(path, arguments=options, argument="--data")
        (found,) = json.loads(report.read_text(encoding="utf-8"))["reports"]
    return Read([found["num_images"], found["numbers"]], answer.num_left_out)


DATA_FORMATS = (
    "coco", "coco-polygons", "coco-panoptic", "yolo", "labelstudio", "labelstudio-polygons", "labelme", "labelme-masks",
    "voc", "geojson", "png", "npz",
)  # fmt: skip

READERS: dict[str, Callable[[Path], Read]] = {
    "image": read_image,
    "mask": read_mask,
    **{name: partial(read_data_set, format=name) for name in DATA_FORMATS},
    "result": read_result,
    "folder": partial(read_samples, read=_read_folder),
    "index": partial(read_samples, read=_read_index),
    "phrasecut": partial(read_samples, read=_read_phrasecut),
    "refcoco": partial(read_samples, read=_read_refcoco),
    "grefcoco": partial(read_samples, read=_read_grefcoco),
    **{name: partial(_read_published, read=read) for name, read in PUBLISHED.items()},
    "checkpoint": read_checkpoint,
    "embedding": read_embedding,
    "state": read_state,
    "plain-pickle": read_plain_pickle,
    "torch-pickle": read_torch_pickle,
    "evaluate": evaluate,
    "predict-with": partial(
        run_command, arguments=("predict", "PHOTO", "--text", "cat", "--engine", "torch"), argument="--model"
    ),
}


def probe(reader: str, path: Path) -> dict[str, object]:
    """Read one input; whatever is raised becomes a part of the answer."""
    digest, num_left_out, message = "", 0, ""
    try:
        values, num_left_out = READERS[reader](path)
        digest = hashlib.sha256(repr(values).encode("utf-8", "surrogatepass")).hexdigest()
        outcome = "answered"
    except PromptsegError as error:
        outcome, message = "refused", str(error)
    except BaseException as error:  # noqa: BLE001 (whatever it is, it is to be reported)
        outcome = "crashed"
        frames = traceback.extract_tb(error.__traceback__)
        message = f"{error!r:.300} at {' < '.join(f'{Path(f.filename).name}:{f.lineno}' for f in frames[:-6:-1])}"
    return {"outcome": outcome, "digest": digest, "num_left_out": num_left_out, "message": message}


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5")


def _read_peak() -> int:
    """Return the largest resident set since the last reset, bytes."""
    if _STATUS.exists():
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    # Answers go to the real stdout; whatever a library prints does not mix with them.
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    for line in sys.stdin:
        reader, path = json.loads(line)
        _reset_peak()
        start = time.process_time()
        answer = probe(reader, Path(path))
        answer |= {"peak_bytes": _read_peak(), "seconds": round(time.process_time() - start, 3)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()

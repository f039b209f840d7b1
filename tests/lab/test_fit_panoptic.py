"""The weights that score the proposals of a panoptic map: what they are fitted on, and where they are kept."""

import json
from pathlib import Path

import numpy as np
import pytest

import promptseg
from lab.fit_panoptic import IMAGES, app, fit_weights
from promptseg.errors import DataError
from promptseg.models.promptseg.config import PromptSegConfig
from promptseg.models.promptseg.settings import PANOPTIC_MERGE
from promptseg.models.segment_proposals import Evidence

SHIPPED = Path(promptseg.__file__).parent / "checkpoints" / "promptseg" / "config.json"


def test_weights_are_those_of_what_matches() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for presence, margin in rng.normal(0, 2, (4000, 2)).tolist():
        matches = rng.random() < 1 / (1 + np.exp(-(presence - 0.5 * margin - 1)))
        rows.append((Evidence(presence, 0.0, -2.0, margin), bool(matches)))
    weights = fit_weights(rows)
    assert weights.presence == pytest.approx(1, abs=0.1) and weights.margin == pytest.approx(-0.5, abs=0.1)
    assert weights.bias == pytest.approx(-1, abs=0.15)
    assert weights.score == weights.log_area == 0, "what never changes says nothing"


def test_evaluation_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_text("coco_dev/a.webp\n")
    with pytest.raises(DataError, match="'coco_dev' is an evaluation set"):
        app(
            ["none", "--data", str(tmp_path), "--images", str(tmp_path / "images.txt")],
            standalone_mode=False,
        )
    assert {line.partition("/")[0] for line in IMAGES.read_text().split()} == {"coco_train"}


def test_the_checkpoint_holds_the_fitted_weights() -> None:
    stored = json.loads(SHIPPED.read_text(encoding="utf-8"))["config"]
    panoptic = PromptSegConfig.from_dict(stored).settings.panoptic
    assert stored["settings"]["panoptic"]["merge"]["max_gap_share"] == PANOPTIC_MERGE.max_gap_share
    assert panoptic.merge == PANOPTIC_MERGE
    assert panoptic.stuff.score == 0 and panoptic.stuff.margin > 0, "stuff has no score of its own"

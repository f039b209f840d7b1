"""The default model, exported: its script draws the masks that PyTorch draws, in a process without PyTorch."""

import json
from pathlib import Path

import numpy as np
import pytest
from exported_world import run_exported
from numpy.typing import NDArray

import promptseg
from promptseg.export import export_model
from promptseg.image_files import bundled_image
from promptseg.images import read_image
from promptseg.predictor import Predictor
from promptseg.runtime import Runtime
from promptseg.sam.base import PromptableSegmenter
from promptseg.sam.load import load_sam

pytestmark = pytest.mark.export

CHELSEA, ASTRONAUT = (read_image(bundled_image(name)) for name in ("chelsea", "astronaut"))
# names of the training set, so that none is mixed with its hypernym
ASKED = {
    "astronaut": (ASTRONAUT, "face"),
    "chelsea": (CHELSEA, "cat"),
    "coffee": (read_image(bundled_image("coffee")), "cup"),
    "rocket": (read_image(bundled_image("rocket")), "sky"),
    "tall": (np.ascontiguousarray(ASTRONAUT[:, 80:360]), "Face"),
    "wide": (np.ascontiguousarray(CHELSEA[40:190]), "cat"),
}
# Share of pixels that may differ: those where a logit is within the tolerance of the edge.
MAX_DIFFERENT = 1e-3


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return promptseg.load(engine="torch", refiner=None)


@pytest.fixture(scope="module")
def sam() -> PromptableSegmenter:
    return load_sam("mobile-sam", runtime=Runtime("torch"), input_side=640)


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported") / request.param
    export_model(folder, format=request.param)
    return folder


def map_presence(predictor: Predictor, image_rgb: NDArray[np.uint8], phrase: str) -> float:
    """Compute the presence of a phrase's map alone; two exemplars or texts in a query have no other evidence."""
    query = promptseg.Query(phrase, (promptseg.TextPrompt(phrase), promptseg.TextPrompt(phrase)))
    return predictor.segment(image_rgb, query, threshold=0.0)[0].presence


@pytest.mark.parametrize("name", ASKED)
def test_script_draws_what_pytorch_draws(
    name: str, exported: Path, predictor: Predictor, sam: PromptableSegmenter, tmp_path: Path
) -> None:
    image_rgb, phrase = ASKED[name]
    answered = run_exported(exported, image_rgb, phrase, tmp_path)
    assert answered.presence == pytest.approx(map_presence(predictor, image_rgb, phrase), abs=2e-3)

    coarse = predictor.segment(image_rgb, phrase, threshold=0.0)[0].mask
    assert 0 < coarse.mean() < 1
    assert (answered.masks["coarse"] != coarse).mean() < MAX_DIFFERENT

    rows, columns = (np.flatnonzero(coarse.any(axis=axis)) for axis in (1, 0))
    box_xyxy = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], dtype=np.float64)
    output = sam.segment(sam.encode(image_rgb), boxes_xyxy=box_xyxy)
    refined = output.image_logits()[0, 0] > 0
    assert 0 < refined.mean() < 1
    assert (answered.masks["refined"] != refined).mean() < MAX_DIFFERENT


def test_an_absent_phrase_is_said_to_be_absent(exported: Path, tmp_path: Path) -> None:
    answered = run_exported(exported, CHELSEA, "train", tmp_path)
    assert "absent" in answered.said


def test_config_names_the_weights_and_their_licenses(exported: Path) -> None:
    config = json.loads((exported / "config.json").read_text())
    assert set(config["weights"]) == {"efficientnet-lite2", "yolox-nano", "minilm-l6", "mobile-sam"}
    assert all("Apache-2.0" in license for license in config["weights"].values())
    assert list(config["graphs"]) == ["images", "texts", "decode", "exemplar", "masker-encode", "masker-decode"]
    assert (exported / "vocab.txt").read_text().split("\n")[101] == "[CLS]"

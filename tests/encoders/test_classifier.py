"""The published classifier tells what parts of an image show."""

import numpy as np
import pytest

from promptseg.encoders.classifier import load_classifier
from promptseg.image_files import bundled_image
from promptseg.images import read_image
from promptseg.runtime import Runtime

TABBY, EGYPTIAN_CAT, ESPRESSO = 281, 285, 967


@pytest.fixture(scope="module", params=["torch", "openvino"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    return Runtime.choose(request.param, "cpu")


def test_cells_show_a_cat_and_a_cup_of_espresso(runtime: Runtime) -> None:
    classifier = load_classifier("efficientnet-lite2", image_size=320, runtime=runtime)
    cat, coffee = (classifier.classify(read_image(bundled_image(name))) for name in ("chelsea", "coffee"))
    assert cat.shape[0] == 1000 and max(cat.shape[1:]) == 10 and cat.dtype == np.float32
    assert set(cat.mean(axis=(1, 2)).argsort()[-3:]) & {TABBY, EGYPTIAN_CAT}
    assert ESPRESSO in coffee.mean(axis=(1, 2)).argsort()[-3:]

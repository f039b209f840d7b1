"""A detection function for CVAT's agents and `cvat-cli task auto-annotate`; see docs/cvat.md.

Source:
    The protocol of cvat-sdk 2.80.0, `auto_annotation/interface.py` (MIT).
"""

from promptseg._extras import require

require("cvat_sdk", extra="cvat")

import cvat_sdk.auto_annotation as cvat  # noqa: E402 (the message of a missing extra comes first)
from PIL import Image  # noqa: E402

from promptseg.cvat.codes import encode_runs, outline, read_labels  # noqa: E402
from promptseg.loading import load  # noqa: E402
from promptseg.predictor import Predictor  # noqa: E402


class PhraseDetector:
    """Finds the objects of phrases.

    Args:
        predictor: The model.
        labels: Phrases by label.
    """

    def __init__(self, predictor: Predictor, labels: dict[str, str]) -> None:
        self._predictor = predictor
        self._phrases = list(labels.values())
        self._spec = cvat.DetectionFunctionSpec(
            labels=[cvat.label_spec(name, index, type="any") for index, name in enumerate(labels)]
        )

    @property
    def spec(self) -> cvat.DetectionFunctionSpec:
        """Its labels."""
        return self._spec

    def detect(self, context: cvat.DetectionFunctionContext, image: Image.Image) -> list[cvat.DetectionAnnotation]:
        """Give a mask, or a polygon if CVAT asks for that, for each object in an image."""
        found = self._predictor.segment(image, self._phrases, threshold=context.conf_threshold)
        return [
            cvat.polygon(index, outline(each)) if context.conv_mask_to_poly else cvat.mask(index, encode_runs(each))
            for index, result in enumerate(found)
            if result.is_present
            for each in result.instances
        ]


def create(labels: str, model: str | None = None, engine: str = "auto") -> PhraseDetector:
    """Make the function; CVAT's tools call this with the values of `-p NAME=str:VALUE`.

    Args:
        labels: Such as "cat, ear=the cat's ear": names of CVAT's labels, and phrases where they differ.
        model: As `promptseg.load`.
        engine: As `promptseg.load`.

    Raises:
        PromptsegError: The labels are malformed, or as `promptseg.load`.
    """
    read = read_labels(labels)
    return PhraseDetector(load(model, engine=engine), read)

"""An interaction function for CVAT's agents: `preprocess_image` encodes, `detect` segments; see docs/cvat.md.

Source:
    The protocol of cvat-sdk 2.80.0, `auto_annotation/interface.py` (MIT).
"""

from promptseg._extras import require

require("cvat_sdk", extra="cvat")

import cvat_sdk.auto_annotation as cvat  # noqa: E402 (the message of a missing extra comes first)
from PIL import Image  # noqa: E402

from promptseg.cvat.clicks import read_clicks  # noqa: E402
from promptseg.cvat.codes import encode_runs  # noqa: E402
from promptseg.embedding import Embedding  # noqa: E402
from promptseg.loading import load  # noqa: E402
from promptseg.predictor import Predictor  # noqa: E402


class ClickSegmenter:
    """Segments the object that points and a box mean.

    Args:
        predictor: The model.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @property
    def spec(self) -> cvat.InteractionFunctionSpec:
        """What it needs: points of both signs and a box are allowed, none is required."""
        return cvat.InteractionFunctionSpec(min_pos_points=0, min_neg_points=0, min_bounding_boxes=0)

    def preprocess_image(self, context: cvat.InteractionFunctionContext, image: Image.Image) -> Embedding:
        """Encode an image; the agent may keep the result."""
        return self._predictor.encode(image).complete()

    def detect(
        self,
        context: cvat.InteractionFunctionContext,
        pp_image: Embedding,
        prompts: cvat.InteractionPrompts,
    ) -> list[cvat.InteractionResultShape]:
        """Give the mask of the object; none if there is nothing."""
        corners = prompts.bounding_box
        query = read_clicks(prompts.pos_points, prompts.neg_points, corners)
        whole = self._predictor.segment(pp_image, query)[0].whole
        return [cvat.InteractionResultShape(type="mask", points=encode_runs(whole))] if whole.area else []


def create(model: str | None = None, engine: str = "auto") -> ClickSegmenter:
    """Make the function; CVAT's tools call this with the values of `-p NAME=str:VALUE`.

    Args:
        model: As `promptseg.load`.
        engine: As `promptseg.load`.

    Raises:
        PromptsegError: As `promptseg.load`.
    """
    return ClickSegmenter(load(model, engine=engine))

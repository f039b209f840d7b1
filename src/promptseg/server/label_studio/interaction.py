"""What a person asks for in Label Studio: the regions of smart tools, and text, as queries."""

import re
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, Discriminator, Field, Tag

from promptseg.errors import PromptError
from promptseg.prompts import BoxPrompt, PointPrompt, Prompt, TextPrompt
from promptseg.server.label_studio.labeling_interface import Control, LabelingInterface
from promptseg.server.label_studio.predicted_regions import AskedObject, Question
from promptseg.server.wire.requests import Number


class KeyPoint(BaseModel):
    """A point, in percent of the picture."""

    x: Number
    y: Number
    keypointlabels: list[str] = Field(min_length=1)


class Rectangle(BaseModel):
    """A rectangle, in percent of the picture."""

    x: Number
    y: Number
    width: Number
    height: Number
    rotation: Number = 0.0
    rectanglelabels: list[str] = Field(min_length=1)


class Text(BaseModel):
    """Phrases."""

    text: str | list[str]


class KeyPointRegion(BaseModel):
    """A point on the object, or beside it."""

    type: Literal["keypointlabels"]
    to_name: str
    value: KeyPoint
    is_positive: bool | None = None
    image_rotation: Number = 0.0

    @property
    def label(self) -> str:
        """Its label."""
        return self.value.keypointlabels[0]


class RectangleRegion(BaseModel):
    """A rectangle around the object."""

    type: Literal["rectanglelabels"]
    to_name: str
    value: Rectangle
    image_rotation: Number = 0.0

    @property
    def label(self) -> str:
        """Its label."""
        return self.value.rectanglelabels[0]


class TextRegion(BaseModel):
    """What a person wrote."""

    type: Literal["textarea"]
    to_name: str
    value: Text


class OtherRegion(BaseModel):
    """A region that asks for nothing."""

    type: str


def _kind_of_region(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", "")
    return kind if kind in ("keypointlabels", "rectanglelabels", "textarea") else "other"


AskedRegion: TypeAlias = Annotated[
    Annotated[KeyPointRegion, Tag("keypointlabels")]
    | Annotated[RectangleRegion, Tag("rectanglelabels")]
    | Annotated[TextRegion, Tag("textarea")]
    | Annotated[OtherRegion, Tag("other")],
    Discriminator(_kind_of_region),
]


Shape: TypeAlias = KeyPointRegion | RectangleRegion


def read_questions(regions: Sequence[AskedRegion], interface: LabelingInterface) -> tuple[Question, ...]:
    """Read what a person asks for: each phrase, or the points, rectangles and phrase of a label together.

    Args:
        regions: On one image.
        interface: Of the project.

    Returns:
        One question, or none if there are no regions.

    Raises:
        PromptError: The regions ask for nothing, are on several images or rotated, or shapes come with several phrases.
        RefusedRequest: No tag gets the regions of a label (422).
    """
    if not regions:
        return ()
    image = _image_of(regions)
    texts: dict[str, list[str]] = {}
    shapes: dict[str, list[Shape]] = {}
    controls: dict[str, Control] = {}
    for region in regions:
        match region:
            case TextRegion():
                for phrase in _phrases(region):
                    control, label = interface.find_label(phrase, image)
                    controls[label] = control
                    texts.setdefault(label, []).append(phrase)
            case KeyPointRegion() | RectangleRegion():
                _refuse_rotated(region)
                label = region.label
                controls[label] = interface.find_control(label, image)
                shapes.setdefault(label, []).append(region)
    objects = (
        AskedObject(control, label, partial(_make_prompts, phrases, shapes.get(label, ())))
        for label, control in controls.items()
        for phrases in _split(texts.get(label, ()), shapes.get(label, ()))
    )
    return (Question(interface.fields[image], tuple(objects)),)


def _image_of(regions: Sequence[AskedRegion]) -> str:
    names = {region.to_name for region in regions if not isinstance(region, OtherRegion)}
    if not names:
        kinds = ", ".join(sorted({region.type for region in regions}))
        raise PromptError(
            f"regions of the type {kinds!r:.200} ask for nothing here: use KeyPointLabels or RectangleLabels with "
            'smart="true", or TextArea'
        )
    if len(names) > 1:
        raise PromptError(f"what is asked for is on {len(names)} images: ask on one")
    return names.pop()


def _phrases(region: TextRegion) -> list[str]:
    """Give the phrases of a text: lines and commas separate them."""
    texts = [region.value.text] if isinstance(region.value.text, str) else region.value.text
    parts = (part.strip() for text in texts for part in re.split("[,\n]", text))
    return list(dict.fromkeys(part for part in parts if part))


def _refuse_rotated(region: Shape) -> None:
    if region.image_rotation:
        raise PromptError("the picture is shown rotated: rotate it back, then ask")
    if isinstance(region, RectangleRegion) and region.value.rotation:
        raise PromptError("a rotated rectangle is no box: draw one with upright sides")


def _split(phrases: Sequence[str], shapes: Sequence[Shape]) -> list[tuple[str, ...]]:
    """Give the phrases of each query of a label."""
    if not shapes:
        return [(phrase,) for phrase in phrases]
    if len(phrases) > 1:
        raise PromptError(f"points and rectangles belong to one phrase, not to {len(phrases)}: give one")
    return [tuple(phrases)]


def _make_prompts(phrases: Sequence[str], shapes: Sequence[Shape], size_hw: tuple[int, int]) -> tuple[Prompt, ...]:
    """Convert shapes from percent to pixels of a picture of this height and width."""
    height, width = size_hw

    def to_pixels(x: float, y: float) -> tuple[float, float]:
        return x * width / 100, y * height / 100

    rectangles = [shape.value for shape in shapes if isinstance(shape, RectangleRegion)]
    boxes = [
        BoxPrompt((*to_pixels(each.x, each.y), *to_pixels(each.x + each.width, each.y + each.height)))
        for each in rectangles
    ]
    points = [shape for shape in shapes if isinstance(shape, KeyPointRegion)]
    prompts: tuple[Prompt, ...] = (*map(TextPrompt, phrases), *boxes)
    if not points:
        return prompts
    points_xy = tuple(to_pixels(point.value.x, point.value.y) for point in points)
    return *prompts, PointPrompt(points_xy, tuple(point.is_positive is not False for point in points))

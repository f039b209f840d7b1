"""Requests of `/v1`. Types and shapes are checked here; values are checked by the library's own classes."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from promptseg._prompt_checks import MAX_PHRASE_CHARACTERS
from promptseg.prompts import MAX_POINTS, MAX_QUERIES
from promptseg.results.panoptic import Unlabelled

MaskForm = Literal["rle", "polygons", "png", "none"]

# JSON has no other numbers, but Python's parser also reads NaN and Infinity.
Number: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]
# Lists of one length and not tuples: few tools read the schema of a tuple.
Box: TypeAlias = Annotated[
    list[Number], Field(min_length=4, max_length=4, description="left, top, right, bottom, in pixels")
]
Point: TypeAlias = Annotated[list[Number], Field(min_length=2, max_length=2, description="x, y, in pixels")]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]


# The library checks these and says more about them; here they are only stated.
_PHRASE = {"minLength": 1, "maxLength": MAX_PHRASE_CHARACTERS}
_PROMPTS = {"minItems": 1}
_POINTS = {"minItems": 1, "maxItems": MAX_POINTS}
_QUERIES = {"minItems": 1, "maxItems": MAX_QUERIES}


class _Request(BaseModel):
    """A part of a request: unknown fields are refused, so that a misspelled one is noticed."""

    model_config = ConfigDict(extra="forbid")


class InlineFile(_Request):
    """A file in the request itself."""

    base64: str = Field(description="The bytes of the file as base64, or a data URI.")


def _kind_of_image(value: Any) -> str:
    return "id" if isinstance(value, str) else "inline"


ImageReference: TypeAlias = Annotated[
    Annotated[str, Tag("id")] | Annotated[InlineFile, Tag("inline")],
    Discriminator(_kind_of_image),
    Field(description="Id of a stored image, or the file itself as base64."),
]


class RleMask(_Request):
    """A mask as COCO's run-length code, column-major."""

    size: list[Annotated[int, Field(ge=1)]] = Field(min_length=2, max_length=2, description="height, width")
    counts: str | list[Annotated[int, Field(ge=0)]] = Field(description="Compressed as text, or plain runs.")


class PngMask(_Request):
    """A mask as an image file: black is outside."""

    png: str = Field(description="The bytes of the file as base64, or a data URI.")


def _kind_of_mask(value: Any) -> str:
    names = value if isinstance(value, dict) else vars(value) if isinstance(value, BaseModel) else {}
    return "png" if "png" in names else "rle"


AskedMask: TypeAlias = Annotated[
    Annotated[RleMask, Tag("rle")] | Annotated[PngMask, Tag("png")],
    Discriminator(_kind_of_mask),
    Field(description="Of the shape of its image, at any size."),
]


class AskedText(_Request):
    """A phrase."""

    kind: Literal["text"]
    text: str = Field(description='Such as "the cat\'s ear".', json_schema_extra={**_PHRASE})
    weight: Number = Field(1.0, description="Among the concepts of its query; negative: not this.")


class AskedExemplar(_Request):
    """An example in another image; without box and mask, all of it."""

    kind: Literal["exemplar"]
    image: ImageReference
    box_xyxy: Box | None = None
    mask: AskedMask | None = None
    weight: Number = Field(1.0, description="Among the concepts of its query; negative: not this.")


class AskedPoints(_Request):
    """Points on the object, or beside it."""

    kind: Literal["point"]
    points_xy: list[Point] = Field(json_schema_extra={**_POINTS})
    on_object: list[bool] | None = Field(None, description="A flag for each point; left out: all lie on the object.")


class AskedBox(_Request):
    """A box around the object."""

    kind: Literal["box"]
    box_xyxy: Box


class AskedMaskPrompt(_Request):
    """A rough mask of the object, a scribble on it, or a mask of an earlier answer."""

    kind: Literal["mask"]
    mask: AskedMask


AskedPrompt: TypeAlias = Annotated[
    AskedText | AskedExemplar | AskedPoints | AskedBox | AskedMaskPrompt, Field(discriminator="kind")
]


class AskedQuery(_Request):
    """One target: a label, and the prompts that together define it."""

    label: str = Field(json_schema_extra={**_PHRASE})
    prompts: list[AskedPrompt] = Field(json_schema_extra={**_PROMPTS})


def _kind_of_query(value: Any) -> str:
    return "phrase" if isinstance(value, str) else "query"


QueryOrPhrase: TypeAlias = Annotated[
    Annotated[str, Tag("phrase")] | Annotated[AskedQuery, Tag("query")],
    Discriminator(_kind_of_query),
    Field(description="A phrase, which is its own label, or a label and prompts."),
]


class AskedRegion(_Request):
    """Where to look: a box, or a mask."""

    box_xyxy: Box | None = None
    mask: AskedMask | None = None


class _AboutImage(_Request):
    """What all requests about an image have."""

    image: ImageReference
    model: str | None = Field(None, description="One of /v1/models; left out: the first.")
    within: AskedRegion | None = Field(None, description="Look only here; left out: everywhere.")
    masks: MaskForm = Field("rle", description="Form of the masks in the answer.")
    mask_long_side: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Longer side of the masks, pixels; left out, or beyond the image's: the image's own."
    )


class SegmentRequest(_AboutImage):
    """A list of queries about an image."""

    queries: list[QueryOrPhrase] = Field(json_schema_extra={**_QUERIES})
    threshold: Share | None = Field(
        None, description="Presence below which an object counts as absent; left out: the model's own."
    )
    mask_threshold: Share | None = Field(
        None, description="Probability from which a pixel belongs to a mask; left out: the model's own."
    )
    instances: bool = Field(True, description="Whether the answer has the single objects.")
    exact: bool = Field(False, description="Give presence, score and mask_quality unrounded.")


class ProposeRequest(_AboutImage):
    """One query of points, a box and masks."""

    query: AskedQuery


class PanopticRequest(_AboutImage):
    """A list of classes for every pixel of an image."""

    names: list[str] | None = Field(
        None,
        description='Such as "cat", "couch, sofa" (synonyms) or "wall [stuff]"; left out: a list of everyday names.',
    )
    stuff: list[str] = Field(default_factory=list, description="Names of classes whose parts are not counted.")
    unlabelled: Unlabelled = Field(
        "keep",
        description="keep: pixels of which no class is sure get no segment. fill: every pixel gets the best class.",
    )
    min_score: Share | None = Field(None, description="Segments of a lower score are left out.")
    min_area: Annotated[int, Field(ge=0)] | None = Field(None, description="Smaller segments are left out, pixels.")

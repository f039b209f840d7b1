"""Answers of `/v1`. Fields without a value are left out of the JSON."""

from typing import Annotated, Literal, TypeAlias

from pydantic import BaseModel, Field

from promptseg.results.query_result import Status

# Lists of one length and not tuples: few tools read the schema of a tuple.
Size: TypeAlias = Annotated[list[int], Field(min_length=2, max_length=2)]
PixelBox: TypeAlias = Annotated[list[int], Field(min_length=4, max_length=4)]
Ring: TypeAlias = list[Annotated[list[float], Field(min_length=2, max_length=2)]]


class ErrorDetail(BaseModel):
    """Why a request was refused."""

    code: str = Field(description="For programs; docs/serve.md lists them.")
    message: str = Field(description="What is wrong.")
    way_out: str = Field(description="What to do.")


class ErrorAnswer(BaseModel):
    """The body of every answer of 400 or more."""

    error: ErrorDetail


class RleForm(BaseModel):
    """A mask as COCO's compressed run-length code, column-major."""

    size: Size = Field(description="height, width")
    counts: str


class PngForm(BaseModel):
    """A mask as a black and white PNG."""

    size: Size = Field(description="height, width")
    png: str = Field(description="The file as base64.")


class PolygonForm(BaseModel):
    """One connected area; rings are not closed."""

    outer: Ring
    holes: list[Ring]


class PolygonsForm(BaseModel):
    """A mask as polygons, in pixels of the image."""

    polygons: list[PolygonForm]


MaskAnswer = RleForm | PngForm | PolygonsForm


class InstanceAnswer(BaseModel):
    """One object."""

    box_xyxy: PixelBox = Field(
        description="left, top, right, bottom, in whole pixels of the image; right and bottom exclusive"
    )
    score: float
    area: int = Field(description="Pixels of the image, measured at the size of the masks.")
    mask: MaskAnswer | None = None
    mask_quality: float | None = Field(None, description="The model's estimate of the mask's IoU.")


class ResultAnswer(BaseModel):
    """The result of one query."""

    label: str
    presence: float = Field(description="Probability that the object is in the image.")
    is_present: bool = Field(description="Whether presence reaches the threshold.")
    status: Status = Field(description="absent: the mask is empty. unsure: the evidence conflicts; there is a mask.")
    read_as: str | None = Field(None, description="The known name that the model took the phrase as.")
    area: int = Field(description="Pixels of the image, measured at the size of the masks.")
    mask: MaskAnswer | None = None
    instances: list[InstanceAnswer] | None = None


class _AboutImage(BaseModel):
    """What all answers about an image have."""

    model: str
    fingerprint: str = Field(description="Identifies the checkpoint.")
    image: str = Field(description="Id of the image.")
    size_hw: Size = Field(description="Of the upright image, pixels.")
    mask_size_hw: Size = Field(description="Of the masks, pixels.")
    seconds: dict[str, float] = Field(description="What each step took: wait, decode, encode, segment, masks.")


class SegmentAnswer(_AboutImage):
    """Results in the order of the queries."""

    presence_threshold: float
    unsure_threshold: float | None = Field(
        None, description="Presence from which a less present object is unsure; left out: nothing is unsure."
    )
    mask_threshold: float
    results: list[ResultAnswer]


class ClassOfMap(BaseModel):
    """A class that was asked for."""

    label: str
    synonyms: list[str]
    is_thing: bool = Field(description="Whether its objects are counted one by one.")
    decided_by: str = Field(description="What says so: the request, a table, or WordNet.")
    presence: float = Field(description="Probability that it is in the image.")


class SegmentOfMap(BaseModel):
    """A segment of a panoptic map; no pixel has two."""

    id: int
    label: str
    is_thing: bool
    score: float
    area: int = Field(description="Pixels of the image, measured at the size of the masks.")
    box_xyxy: PixelBox = Field(
        description="left, top, right, bottom, in whole pixels of the image; right and bottom exclusive"
    )
    mask: MaskAnswer | None = None


class PanopticAnswer(_AboutImage):
    """A panoptic map: its segments, the largest first."""

    presence_threshold: float
    unlabelled: Literal["keep", "fill"]
    unlabelled_share: float = Field(description="Share of the pixels that have no segment.")
    classes: list[ClassOfMap]
    segments: list[SegmentOfMap]


class ImageAnswer(BaseModel):
    """A stored image."""

    id: str
    size_hw: Size = Field(description="Of the upright image, pixels.")
    is_encoded: bool = Field(description="Whether a model has encoded it.")
    expires_in_s: float = Field(description="It is forgotten when it is not used for so long.")
    seconds: dict[str, float] = Field(description="What each step took: wait, decode, encode.")


class ModelAnswer(BaseModel):
    """A served model; what only a loaded model knows is left out until then."""

    name: str
    state: Literal["loading", "ready", "failed"]
    fingerprint: str | None = None
    engine: str | None = None
    device: str | None = None
    prompt_kinds: list[str] | None = None
    can_propose: bool | None = Field(default=None, description="Whether it gives candidates: /v1/propose.")
    can_panoptic: bool | None = Field(default=None, description="Whether it gives panoptic maps: /v1/panoptic.")
    presence_threshold: float | None = None
    unsure_threshold: float | None = None
    mask_threshold: float | None = None
    summary: str | None = None
    license: str | None = None


class ModelsAnswer(BaseModel):
    """The served models."""

    default: str = Field(description="Answers requests that name no model.")
    models: list[ModelAnswer]


class LoadingAnswer(BaseModel):
    """How far a model is."""

    name: str
    state: Literal["loading", "ready", "failed"]
    step: str | None = Field(None, description="What is being done.")
    bytes_done: int | None = Field(None, description="Of the file that is being fetched.")
    bytes_total: int | None = None
    message: str | None = Field(None, description="Why it failed.")
    seconds: float = Field(description="How long loading took, or takes so far.")


class ReadyAnswer(BaseModel):
    """Whether every model is loaded."""

    status: Literal["loading", "ready", "failed"]
    models: list[LoadingAnswer]


class HealthAnswer(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class ExampleAnswer(BaseModel):
    """A photograph that comes with promptseg."""

    name: str
    url: str
    phrases: list[str] = Field(description="Worth asking for.")


class ExamplesAnswer(BaseModel):
    """The photographs that come with promptseg."""

    examples: list[ExampleAnswer]


class GateAnswer(BaseModel):
    """Requests at a device."""

    device: str
    running: int
    waiting: int
    max_waiting: int


class StoreAnswer(BaseModel):
    """The stored images."""

    num_images: int
    bytes: int
    max_bytes: int
    max_age_s: float
    hits: int
    misses: int
    evictions: int


class LimitsAnswer(BaseModel):
    """What a request may hold at most."""

    max_body_bytes: int
    max_body_s: float
    max_pixels: int
    max_queries: int
    max_phrase_characters: int
    max_points: int
    max_wait_s: float


class StatusAnswer(BaseModel):
    """State of the server."""

    version: str
    uptime_s: float
    needs_token: bool
    gates: list[GateAnswer]
    images: StoreAnswer
    limits: LimitsAnswer

"""What an operator decides: limits, who may ask, and what is switched on."""

import re
from dataclasses import dataclass, field

from promptseg.errors import PromptError
from promptseg.images import DEFAULT_LIMITS, ImageLimits
from promptseg.prompts import MAX_QUERIES
from promptseg.server.label_studio.picture_access import PictureAccess

_TOKEN = re.compile(r"[!-~]+")


@dataclass(frozen=True)
class ServerSettings:
    """Settings of a server; every limit is stated by `/v1/status` and by the error of a request that exceeds it.

    Attributes:
        token: What a request must show; None: no token is needed.
        allowed_hosts: Names in the Host header that are accepted besides "localhost" and numeric addresses.
        allowed_origins: Web origins besides the server's own whose pages may ask, such as "https://tool.example".
        max_body_bytes: Size of a request's body.
        max_bodies_bytes: Sizes of all bodies that are being received at one time.
        max_body_s: Seconds within which a body must arrive.
        max_pixels: Height times width of an image.
        max_queries: Queries in a request.
        max_waiting: Requests that may wait for a device; more are refused.
        max_wait_s: Seconds that a request waits for a device before it is refused.
        cache_bytes: Memory for stored images and their embeddings; the newest image stays even if it is larger.
        cache_age_s: Seconds after its last use until an image is forgotten.
        metrics: Whether `/metrics` is there.
        label_studio: Where pictures of Label Studio's tasks may come from.

    Raises:
        PromptError: A limit is out of its range, or the token is blank or not plain ASCII.
    """

    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    allowed_origins: tuple[str, ...] = ()
    max_body_bytes: int = 100 * 2**20
    max_bodies_bytes: int = 400 * 2**20
    max_body_s: float = 60.0
    max_pixels: int = DEFAULT_LIMITS.max_pixels
    max_queries: int = MAX_QUERIES
    max_waiting: int = 8
    max_wait_s: float = 25.0
    cache_bytes: int = 512 * 2**20
    cache_age_s: float = 1800.0
    metrics: bool = False
    label_studio: PictureAccess = field(default_factory=PictureAccess)

    def __post_init__(self) -> None:
        if self.token is not None and not _TOKEN.fullmatch(self.token):
            raise PromptError(
                "a token is made of printable ASCII characters without spaces, which every header can hold; "
                "leave it out, or give one that nobody can guess"
            )
        positive = ("max_body_bytes", "max_body_s", "max_pixels", "max_queries", "max_wait_s", "cache_age_s")
        for name in positive:
            if not getattr(self, name) > 0:
                raise PromptError(f"{name} is a number above 0, not {getattr(self, name)!r}")
        for name in ("max_waiting", "cache_bytes"):
            if not getattr(self, name) >= 0:
                raise PromptError(f"{name} is a number from 0 on, not {getattr(self, name)!r}")
        if self.max_bodies_bytes < self.max_body_bytes:
            raise PromptError(
                f"max_bodies_bytes ({self.max_bodies_bytes:,}) is less than max_body_bytes ({self.max_body_bytes:,}): "
                "not one request of the largest size would be taken"
            )

    @property
    def image_limits(self) -> ImageLimits:
        """Limits of an image in a request."""
        return ImageLimits(max_pixels=self.max_pixels, max_bytes=self.max_body_bytes)

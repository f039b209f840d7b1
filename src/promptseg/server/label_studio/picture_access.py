"""Which pictures of tasks the server may read: what the operator states."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from promptseg.errors import PromptError


@dataclass(frozen=True)
class PictureAccess:
    """Where pictures of Label Studio's tasks may come from, besides the tasks themselves (data URIs).

    Attributes:
        url: Address of Label Studio; no other one is ever fetched from. None: nothing is fetched.
        api_key: An access token of a user there: a personal one, or a legacy one. None: the token that Label Studio
            sends along, which works where legacy tokens are switched on.
        files_root: Directory of its local files, LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT. None: none is read.

    Raises:
        PromptError: The address is none of HTTP, or the directory does not exist.
    """

    url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    files_root: Path | None = None

    def __post_init__(self) -> None:
        if self.url is not None:
            parts = urlsplit(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
                raise PromptError(f"Label Studio's address is like http://localhost:8080, not {self.url!r}")
            object.__setattr__(self, "url", self.url.rstrip("/"))
        if self.files_root is not None:
            root = self.files_root.expanduser().resolve()
            if not root.is_dir():
                raise PromptError(f"{self.files_root} is no directory: name that of Label Studio's local files")
            object.__setattr__(self, "files_root", root)

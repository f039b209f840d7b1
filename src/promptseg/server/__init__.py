"""The HTTP server: `create_app` makes an ASGI application of one or more predictors; see docs/serve.md.

It needs FastAPI, which `pip install 'promptseg[serve]'` installs.
"""

from promptseg._extras import require

require("fastapi", extra="serve")

from promptseg.server.app import create_app  # noqa: E402 (the message of a missing extra comes first)
from promptseg.server.core.served_models import ModelSource  # noqa: E402
from promptseg.server.label_studio.picture_access import PictureAccess  # noqa: E402
from promptseg.server.settings import ServerSettings  # noqa: E402

__all__ = ["ModelSource", "PictureAccess", "ServerSettings", "create_app"]

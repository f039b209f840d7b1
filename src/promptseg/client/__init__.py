"""Ask a running `promptseg serve` from Python, with the methods of a loaded model.

    from promptseg.client import connect

    model = connect("http://gpu-box:8000", token="...")
    model.segment("photo.jpg", ["cat", "the cat's ear"])["cat"].mask

Nothing is loaded or downloaded here: the server computes.
"""

from promptseg.client.remote_predictor import RemoteImage, RemotePredictor, connect

__all__ = ["RemoteImage", "RemotePredictor", "connect"]

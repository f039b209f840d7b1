"""For tests of the server and the page: a tiny random model that takes every kind of prompt, and finds objects.

`python tests/worlds/served_world.py [PORT]` serves it.
"""

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from promptseg.image_files import bundled_image
from promptseg.images import read_image
from promptseg.models.build import build_seeded
from promptseg.models.promptseg.build import build_coarse
from promptseg.models.promptseg.network import PromptSegNetwork
from promptseg.models.promptseg.pipeline import PromptSegPipeline
from promptseg.models.registry import LoadOptions, NetworkSource, find_row, segment_with
from promptseg.ops.deferred import Deferred
from promptseg.predictor import Predictor
from promptseg.prompts import to_queries
from promptseg.runtime import Runtime
from promptseg.sam.load import load_sam

# Of these phrases on the bundled cat, two cover a part of it, one covers all of it, and the others nothing.
PHRASES = ("table", "window", "cat", "grass", "dog")


def tiny_predictor(name: str = "tiny") -> Predictor:
    """The default model's pipeline around the tiny random network and the tiny random SAM.

    The network is shifted, so that `PHRASES` have objects, and half of them are present in the bundled cat.
    """
    runtime = Runtime("torch")
    network = build_seeded(find_row("promptseg-test").config).eval()
    assert isinstance(network, PromptSegNetwork)
    plain = segment_with(network)
    found = plain.segment(plain.encode_image(read_image(bundled_image("chelsea"))), to_queries(PHRASES))
    with torch.no_grad():
        network.dense.mask_shift.fill_(-float(np.median(found.mask_logits[:2])))
    presence = found.presence.astype(np.float64)
    logits = np.log(presence / (1 - presence))
    steep = float(10 / (logits.max() - logits.min()))
    config = replace(network.config, presence_calibration=(steep, -steep * float(np.median(logits))))
    network.config = config
    coarse = build_coarse(config, NetworkSource("", Deferred.of(network)), LoadOptions(runtime))
    segmenter = PromptSegPipeline(coarse, load_sam("sam-test", runtime=runtime, input_side=64))
    return Predictor(name, segmenter, 0.5, "torch", "0123456789abcdef")


def read_refusal(answer: Any) -> tuple[int, str, str]:
    """Give status, code and message of an answer that has the one body of all errors."""
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body.keys() == {"error"} and body["error"].keys() == {"code", "message", "way_out"}
    assert body["error"]["way_out"]
    return answer.status_code, body["error"]["code"], body["error"]["message"]


if __name__ == "__main__":
    import uvicorn

    from promptseg.server import create_app

    uvicorn.run(create_app(tiny_predictor()), port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000)

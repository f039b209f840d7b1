"""The whole API against its own schema: made-up requests, valid and invalid, never get a 500 or an undocumented answer.

The seed is fixed, so that every run asks the same.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from promptseg import Predictor
from promptseg.server import ServerSettings, create_app

NUM_EXAMPLES = 40
OPERATIONS = [
    ("/healthz", "GET"),
    ("/hf", "POST"),
    ("/label-studio", "GET"),
    ("/label-studio/health", "GET"),
    ("/label-studio/predict", "POST"),
    ("/label-studio/setup", "POST"),
    ("/label-studio/versions", "GET"),
    ("/label-studio/webhook", "POST"),
    ("/readyz", "GET"),
    ("/v1/examples", "GET"),
    ("/v1/images", "POST"),
    ("/v1/images", "PUT"),
    ("/v1/images/{image_id}", "DELETE"),
    ("/v1/images/{image_id}", "GET"),
    ("/v1/models", "GET"),
    ("/v1/panoptic", "POST"),
    ("/v1/propose", "POST"),
    ("/v1/segment", "POST"),
    ("/v1/status", "GET"),
    ("/x-anylabeling/health", "GET"),
    ("/x-anylabeling/v1/models", "GET"),
    ("/x-anylabeling/v1/models/{model_id}/info", "GET"),
    ("/x-anylabeling/v1/predict", "POST"),
]


@pytest.fixture(scope="module")
def served(predictor: Predictor, photo: bytes) -> Iterator[tuple[Any, str]]:
    """The schema of a server, and the id of an image that it stores."""
    app = create_app(predictor, ServerSettings(allowed_hosts=("testserver",)))
    with TestClient(app) as client:
        image_id = client.put("/v1/images", content=photo).json()["id"]
        yield schemathesis.openapi.from_asgi("/openapi.json", app), image_id


def test_every_operation_is_tried(served: tuple[Any, str]) -> None:
    schema, _ = served
    listed = sorted((each.ok().path, each.ok().method.upper()) for each in schema.get_all_operations())
    assert listed == OPERATIONS


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: str(mode.value))
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_made_up_requests_get_documented_answers(
    served: tuple[Any, str], path: str, method: str, mode: GenerationMode
) -> None:
    schema, image_id = served
    operation = schema[path][method]
    if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query):
        return  # nothing of it can be wrong: an id is any text
    statuses = []

    @settings(
        max_examples=NUM_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        # a made-up image or model is refused before anything else is looked at
        if isinstance(case.body, dict) and mode is GenerationMode.POSITIVE:
            case.body.pop("model", None)
            case.body["image"] = image_id
        elif isinstance(case.body, dict) and isinstance(case.body.get("image"), str):
            case.body["image"] = image_id
        if path == "/v1/panoptic" and isinstance(case.body, dict):
            case.body.setdefault("names", ["cat"])  # the everyday names take much longer
        # a schema can't say everything that makes a prompt or an image valid
        statuses.append(case.call_and_validate(excluded_checks=[positive_data_acceptance]).status_code)

    ask()
    assert statuses and max(statuses) < 500

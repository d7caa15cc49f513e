import jsonschema
import pytest
from starlette.testclient import TestClient

from models import errors
from service.application import create_web
from service.asgi.problem import problem
from service.routes.openapi import EXAMPLES
from service.settings import Settings

DOCUMENT = TestClient(create_web(Settings())).get("/openapi.json").json()
SHOWN = [
    (method, path, status, media, content)
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    for status, response in operation["responses"].items()
    for media, content in response["content"].items()
    if "example" in content
]


@pytest.mark.parametrize("shown", SHOWN, ids=lambda shown: " ".join(shown[:3]))
def test_an_example_fits_its_schema(shown):
    *_, content = shown
    schema = {**content["schema"], "components": DOCUMENT["components"]}
    jsonschema.validate(content["example"], schema)


def test_every_json_body_has_an_example_that_fits():
    bodies = [
        operation["requestBody"]["content"]["application/json"]
        for operations in DOCUMENT["paths"].values()
        for operation in operations.values()
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    assert len(bodies) == 3  # the lab, and inference with and without a version
    for body in bodies:
        examples = [each["value"] for each in body.get("examples", {}).values()] or [body["example"]]
        for example in examples:
            jsonschema.validate(example, body["schema"])


def test_every_route_shows_an_answer_and_every_error():
    shown = {(method, path.replace("/versions/{version}", ""), status) for method, path, status, *_ in SHOWN}
    for route in EXAMPLES["answers"]:
        assert (*route.split(), "200") in shown
    for path, operations in DOCUMENT["paths"].items():
        for method, operation in operations.items():
            bare = path.replace("/versions/{version}", "")
            errors = {status for status in operation["responses"] if status != "200"}
            assert errors <= {status for m, p, status in shown if (m, p) == (method, bare)}


def test_the_protocol_s_errors_have_its_own_form():
    examples = {(path, status): content["example"] for _, path, status, _, content in SHOWN}
    assert set(examples["/v2/models/{model}/infer", "401"]) == {"error"}
    assert ("/v2/models/{model}/infer", "422") not in examples
    assert examples["/v1/classify", "422"]["code"] == "bad_parameter"


@pytest.mark.parametrize("example", EXAMPLES["problems"].values(), ids=EXAMPLES["problems"])
def test_the_examples_of_errors_are_errors_of_the_service(example):
    kinds = [kind for kind in vars(errors).values() if getattr(kind, "code", None) == example["code"]]
    assert [problem(kind(example["detail"]), example["request_id"]) for kind in kinds] == [example]

import orjson
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from models import errors
from service.asgi.problem import add_handlers, problem_response


def test_an_error_becomes_its_status_code_and_sentence():
    reply = problem_response(errors.BadImage("It is broken. Send another."), "id-1")
    body = orjson.loads(reply.body)
    assert reply.status_code == body["status"] == 400
    assert reply.media_type == "application/problem+json"
    assert (body["code"], body["detail"], body["request_id"]) == ("bad_image", "It is broken. Send another.", "id-1")


@pytest.mark.parametrize(("seconds", "header"), [(0.01, "1"), (1.2, "2"), (30, "30")])
def test_overload_says_when_to_come_back(seconds, header):
    assert problem_response(errors.Overloaded("Full.", seconds), "").headers["retry-after"] == header


def test_a_missing_key_says_how_to_send_one():
    assert "Bearer" in problem_response(errors.Unauthorized("No key."), "").headers["www-authenticate"]


def test_every_kind_of_exception_is_a_problem():
    app = FastAPI()
    add_handlers(app)

    @app.get("/bug")
    def bug():
        raise KeyError("secret detail")

    @app.get("/number")
    def number(value: int):
        return value

    client = TestClient(app, raise_server_exceptions=False)
    for path, status, code in [
        ("/nowhere", 404, "not_found"),
        ("/number?value=x", 422, "bad_parameter"),
        ("/bug", 500, "internal"),
    ]:
        reply = client.get(path)
        assert (reply.status_code, reply.json()["code"]) == (status, code)
        assert "secret" not in reply.text
    assert client.post("/number").json()["code"] == "method_not_allowed"


def test_the_protocol_has_errors_of_its_own_form():
    app = FastAPI()
    add_handlers(app)

    @app.get("/v2/number")
    def number(value: int):
        return value

    client = TestClient(app)
    for path, status in [("/v2/nowhere", 404), ("/v2/number?value=x", 400)]:
        reply = client.get(path)
        assert (reply.status_code, list(reply.json()), reply.headers["content-type"]) == (
            status,
            ["error"],
            "application/json",
        )
    assert client.get("/v22").json()["code"] == "not_found"
    refused = problem_response(errors.Unauthorized("No key."), "", "/v2")
    assert (refused.status_code, orjson.loads(refused.body)) == (401, {"error": "No key."})
    assert "Bearer" in refused.headers["www-authenticate"]

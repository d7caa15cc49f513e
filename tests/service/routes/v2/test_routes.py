"""The protocol without a model; tests/e2e speaks it with a client of others."""

from starlette.testclient import TestClient

from service.application import create_web
from service.settings import Settings


def test_the_server_says_who_it_is():
    client = TestClient(create_web(Settings()))
    assert client.get("/v2").json()["name"] == "catseye"
    assert client.get("/v2/health/live").status_code == 200

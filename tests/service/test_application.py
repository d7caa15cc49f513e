import subprocess
import sys

from starlette.testclient import TestClient

from service.application import create_web
from service.asgi.drain import Drain
from service.asgi.exchange import CONTENT_SECURITY_POLICY
from service.asgi.middleware import ServiceMiddleware
from service.settings import Settings


def test_the_page_has_a_strict_policy_and_no_inline_script():
    settings = Settings(access_log=False)
    reply = TestClient(ServiceMiddleware(create_web(settings), settings=settings, drain=Drain())).get("/")
    assert reply.status_code == 200
    assert reply.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe-inline" not in CONTENT_SECURITY_POLICY
    assert reply.headers["x-content-type-options"] == "nosniff"


def test_the_document_is_openapi_3_1_and_knows_the_contract():
    document = TestClient(create_web(Settings())).get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path in ("/v1/classify", "/v1/feature-maps", "/v1/explain", "/v1/embed", "/v1/convolve", "/v1/models"):
        assert path in document["paths"]
    assert "HTTPValidationError" not in document["components"]["schemas"]
    answers = document["paths"]["/v1/classify"]["post"]["responses"]
    assert {"400", "404", "408", "413", "415", "422", "503", "504"} <= set(answers)


def test_other_pages_are_let_in_only_where_they_are_named():
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    closed = TestClient(create_web(Settings())).options("/v1/classify", headers=asked)
    assert "access-control-allow-origin" not in closed.headers
    client = TestClient(create_web(Settings(cors_origins="https://shop.example")))
    assert client.options("/v1/classify", headers=asked).headers["access-control-allow-origin"] == asked["origin"]
    other = client.options("/v1/classify", headers={**asked, "origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


def test_importing_the_service_loads_no_tensorflow_and_no_training():
    unwanted = ("tensorflow", "keras", "training")
    code = f"import service.app, service.cli, sys; print([name for name in {unwanted} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


def test_the_reference_brings_all_it_needs_and_nothing_inline():
    client = TestClient(create_web(Settings()))
    page = client.get("/docs").text
    assert "<script>" not in page
    assert "//" not in page
    for part in ("/docs/assets/swagger-ui.css", "/docs/assets/swagger-ui-bundle.js", "/page/docs.js"):
        assert part in page
        assert client.get(part).status_code == 200


def test_the_page_learns_where_grafana_is():
    assert TestClient(create_web(Settings())).get("/page/links.json").json() == {}
    settings = Settings(grafana_url="https://grafana.example/d/1")
    assert TestClient(create_web(settings)).get("/page/links.json").json() == {"grafana": "https://grafana.example/d/1"}


def test_the_vendored_library_comes_with_its_licence():
    client = TestClient(create_web(Settings()))
    assert "Permission is hereby granted" in client.get("/page/vendor/uplot/LICENSE.txt").text
    script = client.get("/page/vendor/uplot/uPlot.esm.js")
    assert "javascript" in script.headers["content-type"]
    assert "MIT Licensed" in script.text[:300]
    assert "uPlot 1.6.32" in client.get("/page/licences.html").text

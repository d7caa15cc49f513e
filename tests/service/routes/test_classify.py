from starlette.testclient import TestClient

from service.application import create_web
from service.settings import Settings


class NoModels:
    """A gateway before anything is served."""

    class registry:  # noqa: N801 - stands for an attribute
        names = staticmethod(list)
        refused = staticmethod(dict)


def test_without_a_model_the_list_is_empty_and_metrics_answer():
    app = create_web(Settings())
    app.state.gateway = NoModels()
    client = TestClient(app)
    assert client.get("/v1/models").json() == {"models": [], "refused": {}}
    assert "catseye_requests_in_flight" in client.get("/metrics").text


def test_parameters_are_checked_before_the_body_is_read():
    client = TestClient(create_web(Settings()))
    for query in ("top_k=0", "top_k=1.5", "latency_budget_ms=nan", "variant=huge"):
        assert client.post(f"/v1/classify?{query}").json()["code"] == "bad_parameter"

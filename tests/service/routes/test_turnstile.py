from types import SimpleNamespace

import pytest

from models.errors import Overloaded, UnknownModel
from service.routes.turnstile import PATH, Turnstile


class Crowded:
    """A gateway whose queue is full, or one that does not know the model."""

    def __init__(self, full=True):
        self.full, self.asked = full, []

    def refusal(self, model, version, variant, budget_ms, request_id):
        self.asked.append((model, version, variant, budget_ms, request_id))
        if model == "nobody":
            raise UnknownModel("Model nobody is not here.")
        return (SimpleNamespace(metric_labels=("a", "1", "fast")), Overloaded("Full.", 2.3)) if self.full else None


def scope(query="", method="POST", path=PATH):
    return {"method": method, "path": path, "query_string": query.encode(), "catseye": {"request_id": "me"}}


def test_who_finds_a_full_queue_is_told_so_and_counted_as_the_route_and_the_model():
    gateway, asked = Crowded(), scope("model=a&variant=fast&latency_budget_ms=9")
    error = Turnstile(lambda: gateway)(asked)
    assert (error.detail, error.retry_after) == ("Full.", 2.3)
    assert gateway.asked == [("a", None, "fast", 9.0, "me")]
    assert asked["catseye"]["model"] == ("a", "1", "fast")
    assert asked["route"].path == PATH


@pytest.mark.parametrize(
    ("query", "full"),
    [("model=nobody", True), ("top_k=none", True), ("", False)],
    ids=["unknown", "mistake", "room"],
)
def test_everything_else_is_the_routes(query, full):
    asked = scope(query)
    assert Turnstile(lambda: Crowded(full))(asked) is None
    assert "route" not in asked
    assert "model" not in asked["catseye"]


@pytest.mark.parametrize(("method", "path"), [("GET", PATH), ("POST", "/v1/other"), ("OPTIONS", PATH)])
def test_only_the_hot_route_has_a_turnstile(method, path):
    gateway = Crowded()
    assert Turnstile(lambda: gateway)(scope(method=method, path=path)) is None
    assert gateway.asked == []

"""Questions to a Prometheus that watches the service, and traffic that gives every panel something to show."""

import json
from itertools import count
from typing import Any

import httpx

from tests.support import ROOT
from tests.support.images import png

DASHBOARDS = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
GRAFANA = {"$__rate_interval": "30s", "$model": ".*"}
"""What Grafana puts in for its variables."""
SEEDS = count(1)
"""A photograph of its own for each request, so that the cache does not answer all of them."""


def panel_queries() -> list[tuple[str, str]]:
    """(dashboard / panel, PromQL) of every query of every dashboard."""
    found = []
    for path in DASHBOARDS:
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                expression = target["expr"]
                for variable, value in GRAFANA.items():
                    expression = expression.replace(variable, value)
                found.append((f"{path.stem}: {panel['title']}", expression))
    return found


def load(url: str) -> None:
    """Photographs, broken files and a scan of unknown paths."""
    with httpx.Client(base_url=url, timeout=30) as client:
        for number in range(150):
            good = client.post("/v1/classify", content=png(40 + number % 3, 40, next(SEEDS)))
            assert good.status_code == 200, good.text
            if number % 10 == 0:
                assert client.post("/v1/classify", content=b"no image").status_code == 400
                assert client.get(f"/wp-admin/{number}.php").status_code == 404
        for _ in range(5):
            assert client.post("/v1/classify", content=png(40, 40)).status_code == 200
        assert client.post("/v1/embed", content=png(40, 40)).status_code == 200
        assert client.post("/v1/feature-maps?layer=0", content=png(40, 40)).status_code == 200


def query(client: httpx.Client, expression: str) -> list[dict[str, Any]]:
    """The result of an instant query."""
    answer = client.get("/api/v1/query", params={"query": expression}).json()
    assert answer["status"] == "success", (expression, answer)
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


def shows(client: httpx.Client, expression: str) -> bool:
    """Whether a panel with this query would show a number."""
    return any(sample["value"][1] != "NaN" for sample in query(client, expression))

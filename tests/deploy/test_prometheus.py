"""A real Prometheus on the real service under load: every panel query and every rule has an answer."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support import ROOT
from tests.support.programs import need
from tests.support.prometheus import DASHBOARDS, load, panel_queries, query, shows
from tests.support.servers import Live, free_port
from tests.support.waiting import wait_for

DEPLOY = ROOT / "deploy"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))


def rules() -> list[dict[str, Any]]:
    """Every recording and alert rule."""
    return [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]


def alerts() -> list[str]:
    return [rule["alert"] for rule in rules() if "alert" in rule]


@pytest.fixture(scope="module")
def prometheus(server: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Prometheus with the shipped configuration, scraping faster, after some seconds of mixed load."""
    folder = tmp_path_factory.mktemp("prometheus")
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    configuration["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    configuration["rule_files"] = [str(DEPLOY / "prometheus" / "rules" / "*.yml")]
    jobs = {job["job_name"]: job for job in configuration["scrape_configs"]}
    jobs["catseye"]["static_configs"] = [{"targets": [server.url.removeprefix("http://")]}]
    port = free_port()
    jobs["prometheus"]["static_configs"] = [{"targets": [f"localhost:{port}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
    process = subprocess.Popen(
        [
            need("prometheus"),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            wait_for("Prometheus", lambda: client.get("/-/ready").status_code == 200)
            wait_for("first scrape", lambda: bool(query(client, 'up{job="catseye"} == 1')))
            load(server.url)
            wait_for("rates", lambda: len(query(client, "catseye:requests:rate5m")) > 2)
            load(server.url)
            wait_for("drift", lambda: bool(query(client, "catseye_drift_psi")), 20)
            yield client
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.parametrize(("panel", "expression"), panel_queries())
def test_every_panel_shows_data(prometheus: httpx.Client, panel: str, expression: str) -> None:
    assert shows(prometheus, expression), expression


def test_every_stage_of_a_request_is_timed(prometheus: httpx.Client) -> None:
    found = query(prometheus, "sum by (stage) (catseye_stage_duration_seconds_count) > 0")
    stages = {"receive", "decode", "queue", "batch_wait", "inference", "respond"}
    assert {sample["metric"]["stage"] for sample in found} == stages


@pytest.mark.parametrize("record", [rule["record"] for rule in rules() if "record" in rule])
def test_every_recording_rule_records(prometheus: httpx.Client, record: str) -> None:
    wait_for(record, lambda: bool(query(prometheus, record)))


def test_every_rule_evaluates_and_a_healthy_service_raises_no_alert(prometheus: httpx.Client) -> None:
    groups = prometheus.get("/api/v1/rules").json()["data"]["groups"]
    evaluated = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert {name for name, rule in evaluated.items() if rule["health"] != "ok"} == set()
    assert set(alerts()) <= set(evaluated)
    firing = {name for name in alerts() if evaluated[name]["state"] == "firing"}
    assert firing == set()


def test_alerts_watch_series_that_exist(prometheus: httpx.Client) -> None:
    """An alert on a name that nobody exports would never fire: each metric it reads has series."""
    for rule in rules():
        for name in set(re.findall(r"catseye[a-z0-9_:]+", re.sub(r'"[^"]*"', '""', rule["expr"]))):
            assert query(prometheus, name), (rule.get("alert") or rule.get("record"), name)


def test_unknown_paths_add_no_series(server: Live, prometheus: httpx.Client) -> None:
    def series() -> int:
        return sum(1 for line in httpx.get(f"{server.url}/metrics").text.splitlines() if not line.startswith("#"))

    with httpx.Client(base_url=server.url) as client:
        client.get("/first-unknown")
        before = series()
        for number in range(1000):
            client.get(f"/scan/{number}/{number}.php")
    assert series() == before


def test_promtool_accepts_the_configuration() -> None:
    path = DEPLOY / "prometheus" / "prometheus.yml"
    result = subprocess.run([need("promtool"), "check", "config", path], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_fires_and_clears() -> None:
    path = DEPLOY / "prometheus" / "tests" / "alerts.yml"
    result = subprocess.run([need("promtool"), "test", "rules", path], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    expected: dict[str, set[bool]] = {name: set() for name in alerts()}
    for test in yaml.safe_load(path.read_text())["tests"]:
        for case in test["alert_rule_test"]:
            expected[case["alertname"]].add(bool(case["exp_alerts"]))
    assert {name for name, seen in expected.items() if seen != {True, False}} == set()


def test_every_alert_has_a_page_of_what_to_do() -> None:
    text = (ROOT / "docs" / "how-to" / "alerts.md").read_text()
    missing = [name for name in alerts() if f"### {name}\n" not in text]
    assert missing == []
    for rule in rules():
        if "alert" in rule:
            assert rule["annotations"]["runbook"] == f"docs/how-to/alerts.md#{rule['alert'].lower()}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_name_the_provisioned_data_source(path: Path) -> None:
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text())
    uid = source["datasources"][0]["uid"]
    dashboard = json.loads(path.read_text())
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {uid}

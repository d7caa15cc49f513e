"""The reference pages follow from the code, and nothing that a user may set or meet is left out."""

import re
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from docs.generate import ALERTS, OTHER_VARIABLES, PAGE_WRITERS, PAGES, SERVICE_CODES, undocumented
from service.application import create_web
from service.settings import Settings

ROOT = Path(__file__).parents[2]
INTERNAL = {"CATSEYE_HEARTBEATS", "CATSEYE_DRAIN_FILE"}
"""Variables by which the processes of one server talk to each other."""


@pytest.mark.parametrize("name", PAGE_WRITERS)
def test_the_page_is_what_the_code_says(name: str) -> None:
    assert (PAGES / name).read_text(encoding="utf-8") == PAGE_WRITERS[name](), "Run `python -m docs.generate`."


def test_everything_has_a_description() -> None:
    assert undocumented() == []


def test_every_variable_that_the_product_reads_is_documented() -> None:
    sources = [path for folder in ("models", "training", "service") for path in (ROOT / folder).rglob("*.py")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in (*sources, ROOT / "docker-compose.yml"))
    named = set(re.findall(r"\bCATSEYE_[A-Z][A-Z_]*[A-Z]\b", text)) - INTERNAL
    known = {f"CATSEYE_{name.upper()}" for name in Settings.model_fields} | set(OTHER_VARIABLES)
    assert named - known == set()


def test_every_code_that_the_web_framework_causes_is_documented() -> None:
    source = (ROOT / "service" / "asgi" / "problem.py").read_text(encoding="utf-8")
    codes = set(re.findall(r'\d{3}: "([a-z_]+)"', source)) | set(re.findall(r'"(bad_[a-z]+)"', source))
    assert codes <= set(SERVICE_CODES)


def test_every_route_is_in_the_guide() -> None:
    guide = (PAGES / "http.md").read_text(encoding="utf-8")
    paths = TestClient(create_web(Settings())).get("/openapi.json").json()["paths"]
    missing = [path for path in paths if path.partition("{")[0].rstrip("/") not in guide]
    assert missing == []


def test_every_alert_has_a_heading() -> None:
    guide = (ROOT / "docs" / "how-to" / "alerts.md").read_text(encoding="utf-8")
    for name in re.findall(r"alert: (\w+)", ALERTS.read_text(encoding="utf-8")):
        assert f"### {name}\n" in guide, name

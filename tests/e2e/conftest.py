"""One server for all end-to-end tests of a session, over a store with real models, and a browser."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support import servers as server
from tests.support.browser import PATIENCE_MS, browser
from tests.support.networks import pets_store
from tests.support.programs import need


@pytest.fixture(scope="session")
def model_store() -> Path:
    """The session's BentoML home, with a fast and an accurate variant of ``pets``."""
    return pets_store()


@pytest.fixture(scope="session")
def live(model_store: Path) -> Iterator[server.Live]:
    """The running server."""
    with server.serving(model_store, CATSEYE_DEFAULT_MODEL="pets", CATSEYE_RELOAD_SECONDS="0.5") as running:
        yield running


@pytest.fixture
def client(live: server.Live) -> httpx.Client:
    """Requests to the running server."""
    return live.client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Ended with this module: while it lives, the thread has a running event loop."""
    with browser(need("chromium")) as running:
        yield running


@pytest.fixture
def page(chromium: Browser, live: server.Live) -> Iterator[Page]:
    """A fresh page in English; the test fails if a script failed or the policy was broken."""
    context = chromium.new_context(base_url=f"http://{live.address}", locale="en-GB")
    context.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    fresh = context.new_page()
    failures: list[str] = []
    fresh.on("pageerror", lambda error: failures.append(str(error)))
    fresh.on("console", lambda line: failures.append(line.text) if "Content Security Policy" in line.text else None)
    yield fresh
    context.close()
    assert failures == []

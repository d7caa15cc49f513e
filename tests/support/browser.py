"""Chromium as the tests drive it, and the files that they give the page."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Locator, Page, sync_playwright

from tests.support.images import TEXT, jpeg

PATIENCE_MS = 30_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHOTOGRAPH = {"name": "photograph.jpg", "mimeType": "image/jpeg", "buffer": jpeg(150, 200, seed=3)}
SECOND = {"name": "it's second.jpg", "mimeType": "image/jpeg", "buffer": jpeg(120, 90, seed=4)}
NOTE = {"name": "note.txt", "mimeType": "text/plain", "buffer": TEXT}


@contextmanager
def browser(executable: str) -> Iterator[Browser]:
    """A running Chromium; while it lives, this thread has a running event loop."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield running
        running.close()


def choose(page: Page, *files: dict[str, object]) -> None:
    page.locator("#file").set_input_files(list(files))


def pixels(image: Locator) -> int:
    width = image.evaluate("image => image.decode().then(() => image.naturalWidth)")
    assert isinstance(width, int)
    return width

"""Make the README's pictures of the page anew: ``python -m tests.e2e.pictures http://localhost:3000 [VIEW...]``.

The service at that address should serve the demo's model. The pictures show drawings that come with the page, and
scikit-learn's flower (vultilion, CC BY 2.0), since the demo's photographs may not be given on.
"""

import io
import itertools
import sys
from collections.abc import Callable

from PIL import Image
from playwright.sync_api import Page, expect
from sklearn.datasets import load_sample_image

from tests.support import ROOT
from tests.support.browser import PATIENCE_MS, browser
from tests.support.images import TEXT, encode
from tests.support.programs import need

FOLDER = ROOT / "docs" / "images"
SIZES = {1440: 1000, 390: 844}
SCHEMES = ("light", "dark")


def classify(page: Page) -> None:
    page.locator("#file").set_input_files([{"name": "notes.txt", "mimeType": "text/plain", "buffer": TEXT}])
    expect(page.locator(".result .error")).to_be_visible()
    page.get_by_role("button", name="Classify the drawing of a cracked solar cell").click()
    expect(page.locator(".result .bars")).to_have_count(1)


def inside(page: Page) -> None:
    page.get_by_role("button", name="Classify the drawing of a cracked solar cell").click()
    page.get_by_role("button", name="Look inside").click()
    page.locator(".tile").nth(2).click()
    expect(page.locator(".places li")).to_have_count(4)
    expect(page.locator(".facts")).to_contain_text("Logit")


def lab(page: Page) -> None:
    page.goto("/#lab")
    flower = encode(load_sample_image("flower.jpg")[:, 60:580], "JPEG")
    page.locator("#lab-file").set_input_files([{"name": "flower.jpg", "mimeType": "image/jpeg", "buffer": flower}])
    for _ in range(6):
        page.get_by_role("button", name="Next step").click()
    expect(page.get_by_role("img", name="Feature map of flower.jpg")).to_be_visible()


def models(page: Page) -> None:
    page.goto("/#models")
    expect(page.locator(".chart canvas").first).to_be_visible()


def live(page: Page) -> None:
    page.goto("/#live")
    page.evaluate(
        """async () => {
            const bitmap = new OffscreenCanvas(300, 300);
            bitmap.getContext('2d').fillRect(50, 50, 100, 100);
            const body = await bitmap.convertToBlob();
            const until = performance.now() + 12000;
            const once = () => fetch('/v1/classify', {method: 'POST', body});
            const ask = async () => { while (performance.now() < until) await once(); };
            await Promise.all([ask(), ask()]);
        }"""
    )
    page.wait_for_timeout(2500)


VIEWS: dict[str, Callable[[Page], None]] = {f.__name__: f for f in (classify, inside, lab, models, live)}


def main(address: str, *names: str) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    with browser(need("chromium")) as chromium:
        for name, (width, height), scheme in itertools.product(names or VIEWS, SIZES.items(), SCHEMES):
            context = chromium.new_context(
                base_url=address, locale="en-GB", color_scheme=scheme, viewport={"width": width, "height": height}
            )
            page = context.new_page()
            page.goto("/")
            page.locator(".drop").wait_for()
            VIEWS[name](page)
            page.evaluate("scrollTo(0, 0)")
            picture = Image.open(io.BytesIO(page.screenshot()))
            path = FOLDER / f"page-{name}-{width}-{scheme}.webp"
            picture.save(path, quality=82, method=6)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
            context.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

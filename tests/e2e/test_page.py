"""The page in real Chromium, against the running service with real models."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.live import Live
from tests.e2e.test_lab import FEATURE_MAP, SHARPENED
from tests.images import TEXT, jpeg

VIEWS = ("classify", "inside", "lab", "models", "live")
PATIENCE_MS = 30_000
FIRST_VIEW_BYTES = 200_000
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


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Ended with this module: while it lives, the thread has a running event loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium: Browser, live: Live) -> Iterator[Page]:
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


def choose(page: Page, *files: dict[str, object]) -> None:
    page.locator("#file").set_input_files(list(files))


def test_a_photograph_is_classified(page: Page, live: Live) -> None:
    page.goto("/")
    choose(page, PHOTOGRAPH)
    row = page.locator(".result")
    expect(row.locator(".bars tr")).to_have_count(len(live.labels))
    assert set(row.locator(".bars th").all_inner_texts()) == set(live.labels)
    expect(row.locator(".stages")).to_contain_text("inference")
    expect(page.locator("pre.curl")).to_contain_text("curl --data-binary '@photograph.jpg' 'http://")


def test_several_images_are_rows_and_a_text_file_says_why_not(page: Page) -> None:
    page.goto("/")
    choose(page, PHOTOGRAPH, NOTE, SECOND)
    expect(page.locator(".result .bars")).to_have_count(2)
    expect(page.locator('[data-name="note.txt"] .error')).to_contain_text("image")
    choose(page, NOTE)
    expect(page.locator(".result").first.locator(".error")).to_be_visible()


def test_a_dropped_file_and_a_drawing_are_classified(page: Page) -> None:
    page.goto("/")
    page.locator(".drop").wait_for()
    transfer = page.evaluate_handle(
        """async () => {
            const transfer = new DataTransfer();
            const blob = await (await fetch('/page/icon.svg')).blob();
            const bitmap = new OffscreenCanvas(40, 40);
            bitmap.getContext('2d').fillRect(5, 5, 20, 20);
            transfer.items.add(new File([await bitmap.convertToBlob()], 'dropped.png', {type: 'image/png'}));
            return transfer;
        }"""
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": transfer})
    expect(page.locator('[data-name="dropped.png"] .bars')).to_be_visible()
    page.get_by_role("button", name="Classify the drawing of a cat").click()
    expect(page.locator('[data-name="cat.png"] .bars')).to_be_visible()


def test_the_variant_can_be_switched(page: Page) -> None:
    page.goto("/")
    choose(page, PHOTOGRAPH)
    expect(page.locator(".result")).to_contain_text("pets · accurate")
    page.get_by_label("Variant").select_option("fast")
    expect(page.locator(".result")).to_contain_text("pets · fast")
    expect(page.locator("pre.curl")).to_contain_text("variant=fast")


def test_three_layers_open_and_a_channel_is_enlarged(page: Page) -> None:
    page.goto("/#inside")
    layers = page.locator(".strip button")
    expect(layers.first).to_be_visible()
    for index in (0, 2, layers.count() - 1):
        layers.nth(index).click()
        name = layers.nth(index).get_attribute("data-tap")
        picture = page.get_by_alt_text(f"Feature maps of layer {name},")
        expect(picture).to_be_visible()
        assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 100
    page.get_by_label("Channel (").fill("3")
    page.get_by_role("button", name="Enlarge").click()
    expect(page.get_by_alt_text("channels: 3")).to_be_visible()


def test_the_overlay_fades_and_follows_the_label(page: Page, live: Live) -> None:
    page.goto("/#inside")
    canvas, facts = page.locator(".stack canvas"), page.locator(".facts")
    expect(facts).to_contain_text("Logit")
    page.get_by_label("Opacity").fill("20")
    expect(canvas).to_have_css("opacity", "0.2")
    first = canvas.evaluate("canvas => canvas.toDataURL()")
    other = next(label for label in live.labels if label != canvas.get_attribute("data-label"))
    page.get_by_role("region", name="Class activation").get_by_role("combobox").select_option(other)
    expect(facts).to_contain_text(other)
    assert canvas.evaluate("canvas => canvas.toDataURL()") != first


def result(page: Page) -> list[list[str]]:
    rows = page.locator('[data-result="map-0"] tr').all()
    return [[cell.inner_text().replace("−", "-") for cell in row.locator("td").all()] for row in rows]


def test_the_lab_steps_to_the_lectures_feature_map(page: Page) -> None:
    page.goto("/#lab")
    total = page.locator(".sum")
    expect(total).to_have_text("8×0 + 8×0 + 8×1 + 8×(−1) + 8×1 + 7×(−1) + 8×1 + 8×(−1) + 6×0 = 1")
    page.get_by_role("button", name="Next step").click()
    expect(total.locator("b")).to_have_text("2")
    assert result(page)[0] == ["1", "2", "", ""]
    page.get_by_role("button", name="To the end").click()
    expect(page.get_by_text("step 16 of 16")).to_be_visible()
    assert result(page) == [[str(value) for value in row] for row in FEATURE_MAP]


def test_the_lab_pads_to_114_and_computes_edited_cells(page: Page) -> None:
    page.goto("/#lab")
    page.get_by_label("Example").select_option("padding")
    total = page.locator(".sum b")
    expect(total).to_have_text("114")
    page.get_by_role("button", name="To the end").click()
    assert result(page) == [[str(value) for value in row] for row in SHARPENED]
    page.get_by_role("button", name="First step").click()
    page.get_by_label("Image, row 1, column 1", exact=True).fill("61")
    page.keyboard.press("Tab")
    expect(total).to_have_text("119")
    page.get_by_role("button", name="Run the kernel").click()
    expect(page.get_by_alt_text("Feature map of")).to_be_visible()


def test_the_cards_show_the_interval_and_the_confusion(page: Page) -> None:
    page.goto("/#models")
    card = page.locator("article").first
    expect(card).to_contain_text("50.0%")
    expect(card).to_contain_text("95 % interval 15.0% to 85.0%")
    expect(card.locator(".confusion td.right")).to_have_count(4)
    expect(card).to_contain_text("random weights")


def test_live_counts_requests(page: Page) -> None:
    page.goto("/")
    choose(page, PHOTOGRAPH)
    expect(page.locator(".result .bars")).to_be_visible()
    page.get_by_role("tab", name="Live").click()
    expect(page.get_by_role("row", name="inference")).to_contain_text("ms")


def test_korean_by_the_browser_and_by_the_switch(chromium: Browser, live: Live) -> None:
    context = chromium.new_context(base_url=f"http://{live.address}", locale="ko-KR")
    page = context.new_page()
    page.goto("/")
    expect(page.get_by_role("heading", name="사진에 무엇이 있나요?")).to_be_visible()
    assert page.locator("html").get_attribute("lang") == "ko"
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="What is in the picture?")).to_be_visible()
    context.close()


def test_both_languages_say_everything(page: Page) -> None:
    page.goto("/")
    missing = page.evaluate(
        """async () => {
            const [en, ko] = await Promise.all(['en', 'ko'].map((l) => import(`/page/words/${l}.js`)));
            return Object.keys(en.default).filter((key) => !(key in ko.default));
        }"""
    )
    assert missing == []


def test_a_lost_server_is_said_and_found_again(page: Page) -> None:
    page.goto("/")
    choose(page, PHOTOGRAPH)
    expect(page.locator(".result .bars")).to_be_visible()
    page.context.set_offline(True)
    notice = page.get_by_role("alert")
    expect(notice).to_contain_text("does not answer")
    page.context.set_offline(False)
    expect(notice).to_be_hidden()
    expect(page.locator(".result .bars")).to_be_visible()


def test_the_tabs_follow_the_arrow_keys(page: Page) -> None:
    page.goto("/")
    page.get_by_role("tab", name="Classify").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Live")).to_be_focused()
    expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Home")
    expect(page.get_by_role("heading", name="What is in the picture?")).to_be_visible()


def test_the_first_view_is_small_and_asks_nobody_else(page: Page, live: Live) -> None:
    sizes: dict[str, int] = {}
    page.on("response", lambda reply: sizes.update({reply.url: len(reply.body())}))
    page.goto("/", wait_until="networkidle")
    expect(page.locator(".drop")).to_be_visible()
    assert all(url.startswith(f"http://{live.address}/") for url in sizes)
    assert 10_000 < sum(sizes.values()) < FIRST_VIEW_BYTES


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_breaks_an_accessibility_rule_or_the_narrow_screen(page: Page, scheme: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto("/")
    choose(page, PHOTOGRAPH, NOTE)
    expect(page.locator(".result .bars")).to_be_visible()
    for view in VIEWS:
        page.get_by_role("tab").nth(VIEWS.index(view)).click()
        expect(page.locator(f'#panel[data-view="{view}"] h2')).to_be_visible()
        if view == "inside":
            expect(page.locator(".layer img")).to_be_visible()
        found = Axe().run(page)
        assert found.violations_count == 0, f"{view}:\n{found.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, view


def test_no_file_of_the_page_names_another_host() -> None:
    folder = Path(__file__).parents[2] / "service" / "page"
    for file in folder.rglob("*.*"):
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text, file
        assert "http://" not in text.replace("http://${location.hostname}", ""), file

"""The page for everybody: without a mouse, on a telephone, in Korean, from another machine."""

import re
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.browser import NOTE, PHOTOGRAPH, choose
from tests.support.contract import STATUS
from tests.support.servers import Live

MOST_TABS = 120
VIEWS = ("classify", "inside", "lab", "models", "live")


def reach(page: Page, target: Locator) -> None:
    """Press Tab until the target has the focus."""
    expect(target).to_be_visible()
    for _ in range(MOST_TABS):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{target} cannot be reached with Tab")


def hears_of_choosers(page: Page) -> None:
    """Come back when Chromium will hand a file chooser to the test.

    It learns of that by another way than of keys, and a key can be there first: then it cancels the chooser, as nobody
    is there to choose. What is evaluated goes the same way as that news, behind it.
    """
    page.evaluate("0")


def test_everything_is_done_with_the_keyboard_alone(page: Page) -> None:
    page.goto("/")
    button = page.get_by_role("button", name="Choose images")
    reach(page, button)
    with page.expect_file_chooser() as chooser:
        hears_of_choosers(page)
        page.keyboard.press("Enter")
    chooser.value.set_files([PHOTOGRAPH])
    expect(page.locator(".result .bars")).to_be_visible()
    expect(button).to_be_focused()
    variant = page.get_by_label("Variant")
    reach(page, variant)
    page.keyboard.press("ArrowDown")
    expect(page.locator(".result")).to_contain_text("pets · fast")
    expect(variant).to_be_focused()

    reach(page, page.get_by_role("button", name="Look inside"))
    page.keyboard.press("Enter")
    expect(page.locator("#panel")).to_be_focused()
    layer = page.locator(".strip button").last
    reach(page, layer)
    page.keyboard.press("Enter")
    expect(layer).to_have_attribute("aria-pressed", "true")
    tile = page.locator(".tile").nth(2)
    reach(page, tile)
    page.keyboard.press("Enter")
    expect(tile).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("region", name="One channel").locator("h3")).to_contain_text("Channel")
    reach(page, page.get_by_label("Opacity"))
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".stack canvas")).to_have_css("opacity", "0.74")


def test_the_keyboard_keeps_its_place_when_the_server_comes_back(page: Page) -> None:
    page.goto("/")
    button = page.get_by_role("button", name="Choose images")
    reach(page, button)
    before = button.element_handle()
    page.route("**/livez", lambda route: route.abort())
    expect(page.locator("#gone")).to_be_visible()
    page.unroute("**/livez")
    page.wait_for_function("button => !button.isConnected", arg=before)  # the view was drawn anew
    expect(button).to_be_focused()


def test_the_lab_is_stepped_and_edited_with_the_keyboard_alone(page: Page) -> None:
    page.goto("/#lab")
    following = page.get_by_role("button", name="Next step")
    reach(page, following)
    for place in (2, 3, 4):
        page.keyboard.press("Enter")
        expect(page.get_by_text(f"step {place} of 16")).to_be_visible()
        expect(following).to_be_focused()
    reach(page, page.get_by_label("Image, row 1, column 4", exact=True))
    page.keyboard.press("Control+A")
    page.keyboard.type("17")
    page.keyboard.press("Tab")
    expect(page.locator(".sum")).to_contain_text("17×0")
    expect(page.get_by_label("Image, row 1, column 5", exact=True)).to_be_focused()


@pytest.mark.parametrize(
    ("width", "scheme", "language"),
    [(390, "light", "ko"), (390, "dark", "en"), (1440, "dark", "ko"), (2560, "light", "en"), (2560, "dark", "ko")],
)
def test_no_view_is_wider_than_its_screen_or_breaks_a_rule(page: Page, width: int, scheme: str, language: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("/")
    if language == "ko":
        page.get_by_role("button", name="KO: 한국어").click()
    choose(page, PHOTOGRAPH, NOTE)
    expect(page.locator(".result .bars")).to_be_visible()
    for number, view in enumerate(VIEWS):
        page.get_by_role("tab").nth(number).click()
        expect(page.locator(f'#panel[data-view="{view}"] h2')).to_be_visible()
        if view in ("models", "live"):
            expect(page.locator(".chart canvas").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        found = Axe().run(page)
        assert found.violations_count == 0, f"{view}:\n{found.generate_report()}"


def test_long_labels_keep_their_words_whole_on_a_telephone(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/")
    choose(page, PHOTOGRAPH)
    label = page.locator(".result .bars th").first
    expect(label).to_be_visible()
    room, word = label.evaluate(
        """label => {
            label.textContent = 'Wirehaired Weimaraner';
            const word = Object.assign(document.createElement('span'), {textContent: 'Weimaraner'});
            Object.assign(word.style, {position: 'absolute', whiteSpace: 'nowrap'});
            label.append(word);
            const {width} = word.getBoundingClientRect();
            return [label.clientWidth - parseFloat(getComputedStyle(label).paddingRight), width];
        }"""
    )
    assert room > word > 60


def test_a_telephone_offers_its_camera(chromium: Browser, live: Live) -> None:
    context = chromium.new_context(
        base_url=f"http://{live.address}",
        locale="en-GB",
        has_touch=True,
        is_mobile=True,
        viewport={"width": 390, "height": 844},
    )
    page = context.new_page()
    page.goto("/")
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Take a photograph").tap()
    assert page.locator("#camera").get_attribute("capture") == "environment"
    chooser.value.set_files([PHOTOGRAPH])
    expect(page.locator(".result .bars")).to_be_visible()
    context.close()


def test_the_curl_line_is_selected_where_the_clipboard_is_closed(page: Page) -> None:
    """As it is to a page that comes from another machine without https."""
    page.add_init_script("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.goto("/")
    choose(page, PHOTOGRAPH)
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Selected: copy it with Ctrl+C.")).to_be_visible()
    assert page.evaluate("getSelection().toString()") == page.locator("pre.curl").inner_text()


def test_a_file_that_is_no_image_is_not_looked_into(page: Page) -> None:
    page.goto("/")
    choose(page, NOTE)
    expect(page.locator(".result .error")).to_be_visible()
    page.get_by_role("tab", name="Look inside").click()
    expect(page.get_by_role("combobox", name="Image")).to_have_value("1")
    expect(page.locator(".tile")).not_to_have_count(0)
    assert page.locator("#panel .error").count() == 0


def test_in_korean_an_error_is_said_in_korean_too(page: Page) -> None:
    page.goto("/")
    page.get_by_role("button", name="KO: 한국어").click()
    choose(page, PHOTOGRAPH, NOTE)
    error = page.locator('[data-name="note.txt"] .error')
    expect(error).to_contain_text("읽을 수 있는 이미지가 아닙니다.")
    expect(error.locator('[lang="en"]')).to_contain_text("The data are text, not an image.")


def test_korean_knows_every_error_of_the_contract() -> None:
    words = (Path(__file__).parents[2] / "service/page/words/ko.js").read_text(encoding="utf-8")
    assert set(re.findall(r'"error\.(\w+)": ".*[가-힣]', words)) - {"status"} == set(STATUS)


def test_the_licences_of_what_the_page_uses_are_there(page: Page) -> None:
    page.goto("/")
    page.get_by_role("link", name="Licences").click()
    expect(page.get_by_role("row", name="uPlot")).to_contain_text("MIT")
    assert Axe().run(page).violations_count == 0
    page.get_by_role("link", name="MIT").click()
    expect(page.get_by_text("Permission is hereby granted")).to_be_visible()


def test_no_file_of_the_page_names_another_host() -> None:
    folder = Path(__file__).parents[2] / "service" / "page"
    for file in folder.rglob("*.*"):
        if "vendor" in file.parts:
            continue  # their comments do; what a browser asks for is watched above
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text, file
        assert "http://" not in text.replace("http://${location.hostname}", ""), file

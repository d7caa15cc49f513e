"""The page in real Chromium, against the running service with real models."""

from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.support.browser import NOTE, PHOTOGRAPH, SECOND, choose, pixels
from tests.support.images import encode
from tests.support.lecture import FEATURE_MAP, SHARPENED
from tests.support.servers import Live, free_port, start, stop

VIEWS = ("classify", "inside", "lab", "models", "live")
FIRST_VIEW_BYTES = 200_000


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
    expect(page.locator(".result").first.locator(".error")).to_contain_text("The data are text, not an image.")
    expect(page.locator("pre.curl")).to_contain_text("@photograph.jpg")


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


def test_a_pasted_picture_is_classified(page: Page) -> None:
    page.goto("/")
    page.locator(".drop").wait_for()
    page.evaluate(
        """async () => {
            const canvas = new OffscreenCanvas(40, 30);
            canvas.getContext('2d').fillRect(5, 5, 20, 20);
            const clipboard = new DataTransfer();
            clipboard.items.add(new File([await canvas.convertToBlob()], 'pasted.png', {type: 'image/png'}));
            document.body.dispatchEvent(new ClipboardEvent('paste', {clipboardData: clipboard, bubbles: true}));
        }"""
    )
    expect(page.locator('[data-name="pasted.png"] .bars')).to_be_visible()


def test_the_variant_can_be_switched(page: Page) -> None:
    page.goto("/")
    choose(page, PHOTOGRAPH)
    expect(page.locator(".result")).to_contain_text("pets · accurate")
    page.get_by_label("Variant").select_option("fast")
    expect(page.locator(".result")).to_contain_text("pets · fast")
    expect(page.locator("pre.curl")).to_contain_text("variant=fast")


def strengths(page: Page) -> list[float]:
    """What the buttons of the layer's channels say, in the order they stand."""
    labels = [tile.get_attribute("aria-label") or "" for tile in page.locator(".tile").all()]
    return [float(label.rpartition(" ")[2].replace(",", "")) for label in labels]


def test_three_layers_open_with_their_channels_the_strongest_first(page: Page) -> None:
    page.goto("/#inside")
    layers = page.locator(".strip button")
    expect(layers.first).to_be_visible()
    for index in (0, 2, layers.count() - 1):
        layers.nth(index).click()
        name = layers.nth(index).get_attribute("data-tap")
        expect(page.locator(".layer h3")).to_have_text(name or "")
        expect(page.locator(".tile")).not_to_have_count(0)
        assert pixels(page.locator(".tile img").first) >= 3
        found = strengths(page)
        assert found == sorted(found, reverse=True)
        assert found[0] > found[-1]
        expect(layers.nth(index)).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Show").select_option("64")
    expect(page.locator(".tile")).to_have_count(64)


def test_a_channel_is_shown_large_beside_the_photograph_with_what_it_answers_to(page: Page, live: Live) -> None:
    page.goto("/")
    choose(page, PHOTOGRAPH)
    expect(page.locator(".result .bars")).to_be_visible()
    page.get_by_role("button", name="Look inside").click()
    page.locator(".strip button").last.click()
    tile = page.locator(".tile").nth(3)
    tile.click()
    channel = page.get_by_role("region", name="One channel")
    expect(channel.locator("h3")).to_contain_text(f"Channel {tile.get_attribute('data-channel')} of")
    expect(tile).to_have_attribute("aria-pressed", "true")
    assert pixels(channel.get_by_alt_text("Map of channel")) == 3
    assert pixels(channel.get_by_alt_text("photograph.jpg", exact=True)) == 200
    assert {row.inner_text() for row in channel.locator(".votes th").all()} == set(live.labels)
    expect(channel.locator(".places li")).to_have_count(5)
    answers = [float(item.inner_text()) for item in channel.locator(".places b").all()]
    assert answers == sorted(answers, reverse=True)
    assert answers[0] > answers[-1]
    expect(channel.get_by_label("The position in photograph.jpg")).to_be_visible()


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
    page.get_by_role("button", name="Apply the kernel").click()
    expect(page.get_by_role("img", name="Feature map of cat.png")).to_be_visible()


def test_the_moved_image_pools_to_the_same_map(page: Page) -> None:
    page.goto("/#lab")
    page.get_by_label("Example").select_option("max-pooling")
    page.get_by_role("button", name="To the end").click()
    expect(page.locator('[data-result="pooled-0"] td').last).to_have_text("8")
    page.get_by_role("button", name="Move the image one pixel right").click()
    for column, value in enumerate(("0", "1", "2", "0", "7", "1"), 1):
        expect(page.get_by_label(f"Image, row 1, column {column}", exact=True)).to_have_value(value)
    for kind in ("before-pooled-0", "pooled-0"):
        expect(page.locator(f'[data-result="{kind}"] td')).to_have_text(["9", "7", "6", "8"])
    expect(page.locator(".sum")).to_have_text("max(0, 1, 0, 1, 2, 1, 0, 1, 8) = 8")


def test_steps_that_are_taken_before_the_answer_are_those_of_the_numbers_shown(page: Page) -> None:
    page.goto("/#lab")
    expect(page.locator(".sum")).to_be_visible()
    held: list[Route] = []
    page.route("**/v1/convolve", lambda route: held.append(route))
    with page.expect_request("**/v1/convolve"):
        page.get_by_label("Example").select_option("max-pooling")
    page.get_by_role("button", name="To the end").click()
    expect(page.locator(".sum")).not_to_contain_text("max(")
    held[0].continue_()
    expect(page.locator('[data-result="pooled-0"] td').last).to_have_text("8")


def greys(canvas: Locator) -> list[list[int]]:
    """The red of every pixel, row by row; the lab draws in grey."""
    rows: list[list[int]] = canvas.evaluate(
        """canvas => {
            const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            return Array.from({length: canvas.height}, (_, y) =>
                Array.from({length: canvas.width}, (_, x) => data[4 * (y * canvas.width + x)]));
        }"""
    )
    return rows


def test_the_kernel_runs_over_the_visitors_photograph(page: Page) -> None:
    ramp = np.full((20, 30, 3), 40, np.uint8)
    ramp[:, 15:] = 200
    page.goto("/#lab")
    page.locator("#lab-file").set_input_files(
        [{"name": "ramp.png", "mimeType": "image/png", "buffer": encode(ramp, "PNG")}]
    )
    drawing = page.get_by_role("img", name="Feature map of ramp.png")
    expect(drawing).to_be_visible()
    page.get_by_role("button", name="Vertical edges").click()
    expect(page.get_by_label("Kernel, row 2, column 1", exact=True)).to_have_value("-2")
    expect(page.get_by_text("The feature map, 18 × 28: bright where the response is strong")).to_be_visible()
    assert greys(drawing) == [[0] * 13 + [255, 255] + [0] * 13] * 18
    page.get_by_role("button", name="Sharpen").click()
    expect(page.get_by_text("in the grey levels of the photograph")).to_be_visible()
    assert greys(drawing) == [[40] * 13 + [0, 255] + [200] * 13] * 18


def test_the_cards_show_the_interval_the_confusion_and_where_all_came_from(page: Page) -> None:
    page.goto("/#models")
    card = page.locator("article").first
    expect(card).to_contain_text("50.0%")
    expect(card).to_contain_text("95 % interval 15.0% to 85.0%")
    expect(card.locator(".confusion td.right")).to_have_count(4)
    expect(card).to_contain_text("random weights")
    card.get_by_text("Provenance").click()
    expect(card.get_by_text("5e" * 32)).to_be_visible()
    expect(card.get_by_text("Käfer 10, 강아지 10")).to_be_visible()


def test_the_cards_draw_the_learning_curves_that_were_kept(page: Page) -> None:
    page.goto("/#models")
    card = page.locator("article").filter(has_text="pets · accurate")
    for phase in ("New head: 2 epochs, epoch 2 was selected.", "Fine-tuning: 1 epochs, epoch 1 was selected."):
        expect(card).to_contain_text(phase)
    for name in ("Loss", "Accuracy"):
        assert drawn(card.get_by_role("img", name=name, exact=True)) > 200
    card.get_by_text("Figures of every epoch").click()
    rows = [row.inner_text().split() for row in card.locator(".figures tbody tr").all()]
    assert rows == [
        ["1", "1", "1.1", "50.0%", "50.0%"],
        ["2", "●", "0.5", "0.55", "75.0%", "70.0%"],
        ["3", "●", "0.4", "–", "80.0%", "–"],
    ]
    fast = page.locator("article").filter(has_text="pets · fast")
    expect(fast).to_contain_text("No learning curves are stored")


def drawn(chart: Locator) -> int:
    """How many pixels of a chart's canvas are coloured, that is, neither clear nor grey."""
    count = chart.locator("canvas").evaluate(
        """canvas => {
            const {data} = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4) {
                count += data[i + 3] > 0 && Math.max(...data.slice(i, i + 3)) - Math.min(...data.slice(i, i + 3)) > 60;
            }
            return count;
        }"""
    )
    assert isinstance(count, int)
    return count


def test_live_counts_requests_and_draws_them(page: Page, live: Live) -> None:
    page.goto("/#live")
    expect(page.get_by_role("img", name="requests per second")).to_be_visible()
    live.client.post("/v1/classify", content=PHOTOGRAPH["buffer"]).raise_for_status()
    expect(page.get_by_role("row", name="inference")).to_contain_text("ms")
    expect(page.locator(".tiles .figure").first).not_to_have_text("0")
    assert drawn(page.get_by_role("img", name="requests per second")) > 5
    expect(page.get_by_role("heading", name="Batch sizes")).to_be_visible()
    expect(page.get_by_role("link", name="Grafana")).to_have_attribute("href", "http://127.0.0.1:3001/")


def test_a_histogram_is_read_for_the_time_between_two_readings(page: Page) -> None:
    """Twenty batches of at most 1 before; since then six of at most 2 and two of at most 4."""
    page.goto("/")
    found = page.evaluate(
        """async () => {
            const {parse, between, buckets} = await import('/page/js/prometheus.js');
            const text = (one, two, four, sum) => `# HELP size Images.\nsize_bucket{le="1.0",model="a"} ${one}\n` +
                `size_bucket{le="2.0",model="a"} ${two}\nsize_bucket{le="4.0",model="a"} ${four}\n` +
                `size_bucket{le="+Inf",model="a"} ${four}\nsize_count{model="a"} ${four}\nsize_sum{model="a"} ${sum}`;
            const [before, now] = [parse(text(20, 20, 20, 20)), parse(text(20, 26, 28, 40))];
            return [between(before, now, 'size', () => true), buckets(now, 'size').map(({count}) => count)];
        }"""
    )
    assert found == [
        {"count": 8, "mean": 2.5, "p50": pytest.approx(1 + 4 / 6), "p95": pytest.approx(3.6)},
        [20, 6, 2, 0],
    ]


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


@pytest.mark.long
def test_a_lost_server_is_said_and_found_again(chromium: Browser, live: Live, tmp_path: Path) -> None:
    """The server is really ended, and started again at the same address."""
    server = start(live.store, port=free_port(), CATSEYE_DEFAULT_MODEL="pets", CATSEYE_DRAIN_SECONDS="0")
    context = chromium.new_context(base_url=f"http://{server.address}", locale="en-GB")
    try:
        page = context.new_page()
        page.goto("/")
        choose(page, PHOTOGRAPH)
        expect(page.locator(".result .bars")).to_be_visible()
        stop(server)
        notice = page.get_by_role("alert")
        expect(notice).to_contain_text("does not answer")
        choose(page, SECOND)
        expect(page.locator(".result .error").first).to_contain_text("does not answer")
        server = start(live.store, port=int(server.address.rpartition(":")[2]), CATSEYE_DEFAULT_MODEL="pets")
        expect(notice).to_be_hidden()
        page.get_by_label("Variant").select_option("fast")
        expect(page.locator(".result .bars")).to_have_count(2)
    finally:
        context.close()
        stop(server)


def test_the_tabs_follow_the_arrow_keys(page: Page) -> None:
    page.goto("/")
    page.get_by_role("tab", name="Classify").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("tab", name="Live")).to_be_focused()
    expect(page.get_by_role("tab", name="Live")).to_have_attribute("aria-selected", "true")
    page.keyboard.press("Home")
    expect(page.get_by_role("heading", name="What is in the picture?")).to_be_visible()


def test_the_first_view_is_small_and_asks_nobody_else(
    page: Page, live: Live, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bytes are those on the wire, heads included; the time is printed, since machines differ."""
    network = page.context.new_cdp_session(page)
    network.send("Network.enable")
    sizes: list[float] = []
    urls: list[str] = []
    network.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
    page.on("request", lambda request: urls.append(request.url))
    page.goto("/", wait_until="networkidle")
    expect(page.locator(".drop")).to_be_visible()
    page.wait_for_function("performance.getEntriesByName('interactive').length")
    ready = page.evaluate("performance.getEntriesByName('interactive')[0].startTime")
    with capsys.disabled():
        print(f"\nfirst view: {sum(sizes) / 1000:.0f} kB in {len(sizes)} requests, interactive after {ready:.0f} ms")
    assert all(url.startswith(f"http://{live.address}/") for url in urls)
    assert not any("uPlot.esm" in url for url in urls)
    assert 10_000 < sum(sizes) < FIRST_VIEW_BYTES


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_no_view_breaks_an_accessibility_rule_or_the_narrow_screen(page: Page, scheme: str, width: int) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": width, "height": 800})
    page.goto("/")
    choose(page, PHOTOGRAPH, NOTE)
    expect(page.locator(".result .bars")).to_be_visible()
    for view in VIEWS:
        page.get_by_role("tab").nth(VIEWS.index(view)).click()
        expect(page.locator(f'#panel[data-view="{view}"] h2')).to_be_visible()
        if view == "inside":
            expect(page.locator(".places li")).to_have_count(5)
        if view in ("models", "live"):
            expect(page.locator(".chart canvas").first).to_be_visible()
        found = Axe().run(page)
        assert found.violations_count == 0, f"{view}:\n{found.generate_report()}"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view

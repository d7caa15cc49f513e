"""The layers of every backbone, drawn by the page and by the service: no picture is broken."""

import io
from collections.abc import Callable, Iterator

import keras
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from models.network.backbones import list_backbones
from models.store import store
from tests.support import servers as server
from tests.support.browser import PHOTOGRAPH, choose, pixels
from tests.support.networks import make_model
from tests.support.waiting import wait_for

pytestmark = pytest.mark.sweep

PRETRAINED = [row.name for row in list_backbones() if row.imagenet is not None]
PATIENCE_MS = 120_000
"""For the largest network and a machine that others use."""
COLOURS = """images => Promise.all(images.map(async (image) => {
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    const context = canvas.getContext('2d');
    context.drawImage(image, 0, 0);
    return new Set(new Uint32Array(context.getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size;
}))"""
"""How many colours each image has; a broken one ends the test."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[server.Live]:
    """A server over a store of its own, where one network after the other comes and goes."""
    home = tmp_path_factory.mktemp("sweep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        make_model("smallest", backbone="cnn", size=32)
        with server.serving(home, CATSEYE_RELOAD_SECONDS="0.5", CATSEYE_DEFAULT_MODEL="smallest") as running:
            yield running


@pytest.fixture
def served(live: server.Live) -> Iterator[Callable[[str], list[dict[str, object]]]]:
    """Stores a network at the size that it was made for, and gives its taps once it is served; it is deleted after."""
    address, stored = "/v1/models/swept", []

    def serve(backbone: str) -> list[dict[str, object]]:
        stored.append(make_model("swept", backbone=backbone, size=None))
        keras.backend.clear_session()
        wait_for("served", lambda: live.client.get(address).status_code == 200, 120)
        taps: list[dict[str, object]] = live.client.get(address).json()["taps"]
        return taps

    yield serve
    store.delete(stored[0].tag)
    wait_for("gone", lambda: live.client.get(address).status_code == 404)


def test_the_sweep_is_over_the_lectures_fifteen() -> None:
    assert len(PRETRAINED) == 15
    assert {"efficientnet_b7", "vgg16"} <= set(PRETRAINED)


@pytest.mark.parametrize("backbone", PRETRAINED)
def test_every_layer_is_drawn(
    page: Page, live: server.Live, served: Callable[[str], list[dict[str, object]]], backbone: str
) -> None:
    taps = served(backbone)
    expect.set_options(timeout=PATIENCE_MS)
    page.set_default_timeout(PATIENCE_MS)
    page.goto("/")
    choose(page, PHOTOGRAPH)
    page.get_by_role("combobox", name="Model").select_option("swept")
    page.get_by_role("tab", name="Look inside").click()
    expect(page.locator(".strip button")).to_have_count(len(taps))
    for button in page.locator(".strip button").all():
        button.click()
        name = button.get_attribute("data-tap")
        expect(page.locator(".layer h3")).to_have_text(name or "")
        expect(page.locator(".tile").first).to_be_visible()
        colours = page.locator(".tile img").evaluate_all(COLOURS)
        assert max(colours) > 3, (name, colours)
        expect(page.locator(".channel h3")).to_contain_text(f"of {name}")
        assert pixels(page.locator(".channel .map")) > 0
    expect(page.locator(".facts")).to_contain_text("Logit")
    assert page.locator("#panel .error").count() == 0

    for tap in taps:
        query = {"model": "swept", "layer": tap["name"], "format": "png"}
        picture = live.client.post("/v1/feature-maps", params=query, content=PHOTOGRAPH["buffer"])
        Image.open(io.BytesIO(picture.content)).load()


@pytest.mark.parametrize("backbone", ["vgg16"])
def test_an_answer_over_the_limit_says_how_to_ask_for_less(
    live: server.Live, served: Callable[[str], list[dict[str, object]]], backbone: str
) -> None:
    served(backbone)
    query = {"model": "swept", "layer": "0"}
    refused = live.client.post("/v1/feature-maps", params=query, content=PHOTOGRAPH["buffer"])
    assert (refused.status_code, refused.json()["code"]) == (422, "bad_parameter")
    for advice in ({"channels": "strongest:8"}, {"format": "npz"}):
        assert f"{next(iter(advice))}={next(iter(advice.values()))}" in refused.json()["detail"]
        answer = live.client.post("/v1/feature-maps", params=query | advice, content=PHOTOGRAPH["buffer"])
        assert answer.status_code == 200, answer.text

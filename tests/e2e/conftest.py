"""One server for all end-to-end tests of a session, over a store with real models."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect, sync_playwright

from models.card import Card, DataFingerprint, Metrics, Reference, Split, WeightsProvenance
from models.export.openvino import export_openvino
from models.network.classifier import Classifier, HeadSpec, build_classifier, head_arrays
from models.store import store
from models.store.history import HISTORY_FILE, History, Phase
from models.store.store import StoredModel
from tests.support import servers as server
from tests.support.browser import ARGUMENTS, PATIENCE_MS
from tests.support.images import photograph

Floats = NDArray[np.float32]
LABELS = ("Käfer", "강아지", "cat", "dog")
HISTORY = History(
    phases=(
        Phase(
            phase="head",
            best_epoch=2,
            history=tuple(
                {"epoch": n, "loss": 1 / n, "accuracy": 1 - 0.5 / n, "val_loss": 1.1 / n, "val_accuracy": 0.9 - 0.4 / n}
                for n in (1, 2)
            ),
        ),
        Phase(phase="top", best_epoch=1, history=({"epoch": 1, "loss": 0.4, "accuracy": 0.8, "val_loss": None},)),
    )
)
DATA = DataFingerprint(name="pets", images=40, classes=dict.fromkeys(LABELS, 10), sha256="5e" * 32)
SPLIT = Split(method="stratified", seed=0, train=28, validation=8, test=4)


def lively_head(classifier: Classifier, seed: int) -> tuple[Floats, Floats]:
    """Random kernel and bias with which photographs get different answers.

    What a network with random weights makes of two photographs differs by little, so that a head which does not enlarge
    the difference would say the same of all, and a reply to the wrong request would look right.
    """
    height, width = classifier.input_size
    pixels = np.stack([photograph(height, width, number) for number in range(4)])
    features = classifier.feature_model()(pixels, training=False).numpy()
    random = np.random.default_rng(seed)
    spread = np.maximum(features.std(0), 1e-3 * np.abs(features).max()).clip(1e-12)
    kernel = random.normal(size=head_arrays(classifier)[0].shape) * (3 / spread / len(spread) ** 0.5)[:, None]
    bias = random.normal(size=kernel.shape[1]) - features.mean(0) @ kernel
    return kernel.astype("float32"), bias.astype("float32")


def make_model(
    name: str,
    *,
    seed: int = 0,
    size: int = 96,
    backbone: str = "mobilenet_v2",
    labels: tuple[str, ...] = LABELS,
    broken: bool = False,
    history: History | None = None,
    **card: object,
) -> StoredModel:
    """Store a network with random weights and lively answers; ``broken``, with a network that cannot be read."""
    classifier = build_classifier(backbone, len(labels), input_size=size, head=HeadSpec(), seed=seed)
    kernel, bias = lively_head(classifier, seed)
    classifier.model.get_layer("logits").set_weights([kernel, bias])

    scratch = Path(mkdtemp(prefix="catseye-export-"))
    export = export_openvino(classifier, scratch)

    def write(folder: Path) -> None:
        classifier.model.save(folder / "model.keras")
        np.savez(folder / "head.npz", kernel=kernel, bias=bias)
        shutil.move(scratch / "openvino", folder / "openvino")
        scratch.rmdir()
        if history is not None:
            (folder / HISTORY_FILE).write_text(history.model_dump_json())
        if broken:
            (folder / "openvino" / "float32.xml").write_text("<net/>")

    fields: dict[str, object] = {
        "name": name,
        "labels": labels,
        "backbone": backbone,
        "input_size": classifier.input_size,
        "weights": WeightsProvenance(source="none", detail="random weights"),
        "taps": classifier.taps,
        "head": classifier.head,
        "exports": (export,),
        "parameters": classifier.model.count_params(),
        "reference": Reference(
            classes={label: 1 / len(labels) for label in labels},
            confidence_edges=(0, 0.25, 0.5, 0.75, 1),
            confidence=(0.25, 0.25, 0.25, 0.25),
        ),
        "metrics": Metrics(
            images=4,
            accuracy=0.5,
            accuracy_low=0.15,
            accuracy_high=0.85,
            balanced_accuracy=0.5,
            macro_f1=0.4,
            log_loss=1.0,
            calibration_error=0.1,
            confusion=tuple((1,) * len(labels) for _ in labels),
        ),
    }
    return store.save(Card.model_validate(fields | card), write)


@pytest.fixture(scope="session")
def model_store() -> Path:
    """The session's BentoML home, with a fast and an accurate variant of ``pets``."""
    make_model("pets-fast", seed=2, size=64, variant_of="pets")
    make_model("pets", seed=1, temperature=50.0, history=HISTORY, data=DATA, split=SPLIT)
    return Path(os.environ["BENTOML_HOME"])


@pytest.fixture(scope="session")
def live(model_store: Path) -> Iterator[server.Live]:
    """The running server."""
    running = server.start(model_store, CATSEYE_DEFAULT_MODEL="pets", CATSEYE_RELOAD_SECONDS="0.5")
    yield running
    server.stop(running)


@pytest.fixture
def client(live: server.Live) -> httpx.Client:
    """Requests to the running server."""
    return live.client


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Ended with this module: while it lives, the thread has a running event loop."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        yield browser
        browser.close()


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

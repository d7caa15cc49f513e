import csv
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from models.card import Card, Head, WeightsProvenance
from models.errors import StoreError
from tests.support.folders import class_folders, picture, put
from training.data.dataset import Fractions, labels_of, read_dataset
from training.evaluate.metrics import evaluate
from training.report.report import Report, render, write_report

LABELS = ("고양이", "<b>dog</b> & $x$")
PHASES = [
    SimpleNamespace(phase=name, history=[{"epoch": 1.0, "loss": 0.7, "val_loss": 0.6}], best_epoch=1)
    for name in ("head", "top")
]
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Checks that tags close in order, and collects what a browser would act on."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.words = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words)).replace("\N{NO-BREAK SPACE}", " ")

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture
def data(tmp_path):
    return some_data(tmp_path / "data")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a whole report: drawing it takes seconds, so most tests look at this one."""
    folder = tmp_path_factory.mktemp("run")
    write_report(folder / "run", report_of(some_data(folder / "data")))
    return folder / "run"


@pytest.fixture
def page(run):
    return Page((run / "report.html").read_text("utf-8"))


@pytest.fixture
def drawn(run):
    return {path.stem: path.read_bytes() for path in (run / "plots").glob("*.png")}


def some_data(root):
    for i in range(40):
        put(root / "images" / f"그림 {i}.png", picture(i))
    rows = [["path", "label"], *([f"images/그림 {i}.png", LABELS[i % 2]] for i in range(40)), ["gone.png", LABELS[0]]]
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    return read_dataset(put(root / "labels.csv", out.getvalue().encode()), quiet=True)


def report_of(data, **changes):
    targets = labels_of(data.test)
    logits = 2.0 * np.eye(len(data.labels))[targets]
    logits[:2] = -logits[:2]
    card = Card(
        name="cells",
        labels=data.labels,
        backbone="mobilenet_v2",
        input_size=(96, 64),
        weights=WeightsProvenance(source="none", detail="random"),
        data=data.fingerprint,
        split=data.split,
        settings={"seed": 0, "freeze": "auto"},
        metrics=evaluate(logits, targets, data.labels, 1.5) if len(targets) else None,
        temperature=1.5,
        head=Head(embedding_size=1),
        parameters=1234,
        versions={"keras": "3"},
    )
    options = {"samples": data.test, "logits": logits, "phases": PHASES, "notes": ["Freeze most: because."]}
    return Report(**{"card": card, "dataset": data, **options, **changes})


def test_the_run_folder_holds_page_plots_and_tables(run):
    files = {path.relative_to(run).as_posix() for path in run.rglob("*.*")}
    plots = {f"plots/{name}.png" for name in ("learning_curves", "confusion", "classes", "reliability")}
    assert files == {"report.html", "history.csv", "predictions.csv", "classes.csv", *plots}
    rows = list(csv.DictReader((run / "predictions.csv").open(encoding="utf-8-sig")))
    assert len(rows) == 6
    assert sum(row["label"] != row["predicted"] for row in rows) == 2
    history = (run / "history.csv").read_text("utf-8-sig").splitlines()
    assert history == ["phase,epoch,loss,val_loss", "head,1.0,0.7,0.6", "top,1.0,0.7,0.6"]


def test_the_page_stands_alone(page):
    assert not page.all("script")
    assert not page.all("link")
    assert all(image["src"].startswith("data:image/") and image["alt"] for image in page.all("img"))
    assert all(link["href"].startswith("#") for link in page.all("a"))
    targets = {attributes["id"] for _, attributes in page.found if "id" in attributes}
    assert {link["href"][1:] for link in page.all("a")} <= targets
    assert any("default-src 'none'" in meta.get("content", "") for meta in page.all("meta"))


def test_the_page_tells_the_figures_and_the_data(page):
    text = page.text
    assert "Test accuracy 66.7 % on 6 images (95 % interval 30.0 % to 90.3 %)" in text
    for words in (*LABELS, "gone.png: no such file", "Freeze most: because.", "temperature 1.50", "64 × 96 pixels"):
        assert words in text
    assert text.count("; labelled ") == 2


def test_labels_are_text_not_markup(page):
    assert not page.all("b")


def test_class_activation_of_the_worst_images(data, drawn):
    asked = []

    def activation(sample, label):
        asked.append((sample.label, label))
        return np.eye(4, dtype=np.float32)

    report = report_of(data, activation=activation, worst_images=3)
    page = Page(render(report, drawn))
    # Of two labels, one map is the other's negative: the predicted label's is enough.
    assert [true == label for true, label in asked] == [False, False, True]
    assert sum("Class activation" in image["alt"] for image in page.all("img")) == 3
    assert "Orange marks" in page.text


def test_a_mistake_among_several_labels_shows_both_maps(tmp_path):
    data = read_dataset(class_folders(tmp_path, {"a": 4, "b": 4, "c": 4}), quiet=True)
    targets = labels_of(data.test)
    logits = 2.0 * np.eye(3)[(targets + 1) % 3]
    asked = []
    activation = lambda sample, label: asked.append(label - sample.label) or np.eye(4, dtype=np.float32)  # noqa: E731
    report = report_of(data, logits=logits, activation=activation, worst_images=1)
    render(report, dict.fromkeys(("confusion", "classes", "reliability"), b""))
    assert len(asked) == 2
    assert asked[1] == 0 != asked[0]


def test_networks_without_activation_and_files_that_went_away(data, drawn):
    data.test[0].path.unlink()
    report = report_of(data)
    page = Page(render(report, drawn))
    assert "Orange marks" not in page.text
    assert page.text.count("; labelled ") == 1


def test_without_held_out_images_there_are_no_figures(tmp_path):
    root = class_folders(tmp_path / "data", {"a": 4, "b": 4})
    data = read_dataset(root, quiet=True, fractions=Fractions(validation=0.0, test=0.0))
    report = report_of(data, logits=np.zeros((0, 2)), phases=(), notes=())
    text = Page(write_report(tmp_path / "run", report).read_text("utf-8")).text
    assert "No images were held out" in text
    assert not list((tmp_path / "run").glob("plots/*"))


def test_plots_are_pictures(run):
    for path in (run / "plots").glob("*.png"):
        assert min(Image.open(path).size) > 150


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path, data):
    put(tmp_path / "run", b"a file stands here")
    with pytest.raises(StoreError, match="report cannot be written"):
        write_report(tmp_path / "run", report_of(data, samples=(), phases=()))

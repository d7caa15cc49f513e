import csv
import io
import json
import os

import pytest

from models.errors import BadImage, BadParameter, TooLarge, UnknownModel
from service.offline import classify
from service.settings import Settings
from tests.support.images import jpeg, png
from tests.support.networks import stored

SETTINGS = Settings()


@pytest.fixture(scope="module")
def served():
    made = classify.load(stored("cnn"), SETTINGS)
    yield made
    made.close()


@pytest.fixture
def home(monkeypatch):
    monkeypatch.setenv("BENTOML_HOME", str(stored("cnn").path.parents[2]))


def test_folders_give_their_images_in_order_and_files_are_taken_as_named(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", "deep/c.webp"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = classify.find_files([tmp_path, tmp_path / "notes.txt"])
    assert [path.name for path in found] == ["a.png", "b.JPG", "c.webp", "notes.txt"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadParameter, match="no image"):
        classify.find_files([tmp_path / "empty"])


def test_results_come_in_order_and_bad_files_fail_alone(served, tmp_path):
    files = [tmp_path / f"{number:02}.jpg" for number in range(30)]
    for number, file in enumerate(files):
        file.write_bytes(b"no image" if number % 7 == 3 else jpeg(40, 40, seed=number))
    results = list(classify.classify(served, [*files, tmp_path / "missing.png"], SETTINGS, top_k=2))
    assert [result.path for result in results] == [*files, tmp_path / "missing.png"]
    for number, result in enumerate(results[:-1]):
        assert isinstance(result.error, BadImage) == (number % 7 == 3)
        assert len(result.predictions) == (0 if result.error else 2)
    assert "No such file" in results[-1].error.detail


def test_probabilities_are_those_of_the_network(served, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(png(32, 32, seed=4))
    (result,) = classify.classify(served, [file], SETTINGS, top_k=5)
    assert sum(each["probability"] for each in result.predictions) == pytest.approx(1, abs=1e-5)
    shares = [each["probability"] for each in result.predictions]
    assert shares == sorted(shares, reverse=True)
    assert {each["label"] for each in result.predictions} == set(served.card.labels)


def test_a_file_over_the_limit_is_not_read_whole(tmp_path):
    file = tmp_path / "large.jpg"
    with file.open("wb") as sparse:
        sparse.truncate(SETTINGS.max_body_bytes + 1)
    with pytest.raises(TooLarge, match="CATSEYE_MAX_BODY_MB"):
        classify.read(file, SETTINGS)


def test_the_newest_model_answers_where_none_is_named(home):
    assert classify.find_model(None).tag == stored("cnn").tag
    assert classify.find_model("network", stored("cnn").version).tag == stored("cnn").tag
    with pytest.raises(UnknownModel, match="nobody"):
        classify.find_model("nobody")
    with pytest.raises(UnknownModel, match="--variant-of network"):
        classify.find_model("network", fast=True)


def test_an_empty_store_says_how_to_fill_it(monkeypatch, tmp_path):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    with pytest.raises(UnknownModel, match="catseye train"):
        classify.find_model(None)


def test_a_table_as_json_lines_and_as_csv(served, tmp_path):
    good, bad = tmp_path / '강아지, "x".png', tmp_path / "b.png"
    good.write_bytes(png(32, 32))
    bad.write_bytes(b"")
    results = list(classify.classify(served, [good, bad], SETTINGS, top_k=2))
    lines, sheet = io.StringIO(), io.StringIO()
    for out, kind in ((lines, "jsonl"), (sheet, "csv")):
        table = classify.Table(out, kind, served, 2)
        for result in results:
            table.write(result)
    first, second = map(json.loads, lines.getvalue().splitlines())
    assert first["path"] == str(good)
    assert len(first["predictions"]) == 2
    assert second["error"]["code"] == "bad_image"
    head, one, two = csv.reader(io.StringIO(sheet.getvalue()))
    assert head == ["path", "label_1", "probability_1", "label_2", "probability_2", "error"]
    assert one[0] == str(good)
    assert one[1] == first["predictions"][0]["label"]
    assert two[1:5] == [""] * 4
    assert two[5] == results[1].error.detail


def test_a_model_in_one_core_gives_the_same_answers(served, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(png(32, 32, seed=4))
    alone = classify.load(stored("cnn"), SETTINGS, cores=1)
    try:
        assert alone.runtime.streams == 1
        found, expected = (list(classify.classify(one, [file], SETTINGS, 5, threads=1)) for one in (alone, served))
    finally:
        alone.close()
    assert [each["label"] for each in found[0].predictions] == [each["label"] for each in expected[0].predictions]
    shares = ([each["probability"] for each in one[0].predictions] for one in (found, expected))
    assert next(shares) == pytest.approx(next(shares), abs=1e-6)


def test_a_name_that_is_no_text_is_written_all_the_same(served, tmp_path):
    file = tmp_path / os.fsdecode(b"\xff.png")
    file.write_bytes(png(32, 32))
    results = list(classify.classify(served, [file], SETTINGS, 1))
    for kind in ("jsonl", "csv"):
        with (tmp_path / "table").open("w", encoding="utf-8") as out:
            table = classify.Table(out, kind, served, 1, header=False)
            for result in results:
                table.write(result)
        assert (tmp_path / "table").read_text("utf-8").count("?.png") == 1

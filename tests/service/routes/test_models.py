import pytest
from starlette.testclient import TestClient

from models.store.history import HISTORY_FILE, History, Phase
from service.application import create_web
from service.inference.pipeline import Pipeline
from service.settings import Settings

HISTORY = History(phases=(Phase(phase="head", best_epoch=1, history=({"epoch": 1.0, "loss": 0.5, "val_loss": None},)),))


@pytest.fixture
def history_file(model):
    path = model.path / HISTORY_FILE
    yield path
    path.unlink(missing_ok=True)


def test_without_a_model_the_list_is_empty():
    app = create_web(Settings())
    app.state.pipeline = Pipeline(Settings())
    assert TestClient(app).get("/v1/models").json() == {"models": [], "refused": {}}


def test_a_model_is_described(client, model):
    listed = client.get("/v1/models").json()["models"]
    assert [each["name"] for each in listed] == ["network"]
    assert client.get("/v1/models/network").json()["variants"]["accurate"]["version"] == model.version
    assert client.get("/v1/models/other").json()["code"] == "unknown_model"


def test_the_phases_are_answered_as_they_were_kept(client, model, history_file):
    history_file.write_text(HISTORY.model_dump_json())
    answer = client.get("/v1/models/network/history").json()
    assert (answer["model"], answer["variant"], answer["version"]) == ("network", "accurate", model.version)
    assert History.model_validate({"phases": answer["phases"]}) == HISTORY


def test_a_model_without_a_history_has_no_phases(client):
    assert client.get("/v1/models/network/history").json()["phases"] == []


def test_another_model_is_a_404_and_a_broken_file_a_problem(client, history_file):
    assert client.get("/v1/models/other/history").json()["code"] == "unknown_model"
    assert client.get("/v1/models/network/history?variant=huge").json()["code"] == "bad_parameter"
    history_file.write_text("{")
    reply = client.get("/v1/models/network/history")
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "store_error"

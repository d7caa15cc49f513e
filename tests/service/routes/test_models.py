from pathlib import Path
from types import SimpleNamespace

import pytest
from starlette.testclient import TestClient

from models.errors import UnknownModel
from models.store.history import HISTORY_FILE, History, Phase
from service.application import create_web
from service.inference.execution_plan import Plan
from service.inference.served_model import ServedModel
from service.settings import Settings
from tests.support.networks import copied, stored

HISTORY = History(phases=(Phase(phase="head", best_epoch=1, history=({"epoch": 1.0, "loss": 0.5, "val_loss": None},)),))


@pytest.fixture
def model(tmp_path):
    return copied(stored("cnn"), tmp_path / "network" / "v1")


@pytest.fixture
def client(model):
    served = ServedModel(model, Settings(), Plan(streams=1, threads=1, batch=1))

    def find(name: str, version: str | None, variant: str | None, request_id: str) -> ServedModel:
        if name != "network":
            raise UnknownModel(f"Model {name} is not served. Served are: network.")
        return served

    app = create_web(Settings())
    app.state.gateway = SimpleNamespace(find=find)
    yield TestClient(app)
    served.close()


def test_the_phases_are_answered_as_they_were_kept(client, model):
    Path(model.path, HISTORY_FILE).write_text(HISTORY.model_dump_json())
    answer = client.get("/v1/models/network/history").json()
    assert (answer["model"], answer["variant"], answer["version"]) == ("network", "accurate", model.version)
    assert History.model_validate({"phases": answer["phases"]}) == HISTORY


def test_a_model_without_a_history_has_no_phases(client):
    assert client.get("/v1/models/network/history").json()["phases"] == []


def test_another_model_is_a_404_and_a_broken_file_a_problem(client, model):
    assert client.get("/v1/models/other/history").json()["code"] == "unknown_model"
    assert client.get("/v1/models/network/history?variant=huge").json()["code"] == "bad_parameter"
    Path(model.path, HISTORY_FILE).write_text("{")
    reply = client.get("/v1/models/network/history")
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["code"] == "store_error"

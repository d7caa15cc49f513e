"""The protocol in this process; tests/e2e speaks it with a client of others."""

import numpy as np
import pytest
from prometheus_client import REGISTRY

from tests.support.networks import images

ACCURATE = {"model": "network", "variant": "accurate"}


def test_the_server_says_who_it_is(client):
    assert client.get("/v2").json()["name"] == "catseye"
    assert client.get("/v2/health/live").status_code == 200
    assert client.get("/v2/health/ready").json() == {"ready": True}


def count(name, **labels):
    return REGISTRY.get_sample_value(name, labels) or 0


def test_pixels_are_counted_as_the_images_of_other_routes_are(client, model):
    pixels = images(3, 32)
    tensor = {"name": "image", "shape": [3, 32, 32, 3], "datatype": "UINT8", "data": pixels.ravel().tolist()}

    def counted():
        predictions = {**ACCURATE, "version": model.version}
        return np.array(
            [
                count("catseye_stage_duration_seconds_count", stage="inference", **ACCURATE),
                count("catseye_stage_duration_seconds_count", stage="queue", **ACCURATE),
                count("catseye_prediction_confidence_count", **ACCURATE),
                sum(count("catseye_predictions_total", **predictions, label=label) for label in model.card.labels),
            ]
        )

    before = counted()
    reply = client.post("/v2/models/network/infer", json={"inputs": [tensor], "outputs": [{"name": "probabilities"}]})
    assert reply.status_code == 200, reply.text
    assert (counted() - before).tolist() == [1, 1, 3, 3]
    found = np.reshape(reply.json()["outputs"][0]["data"], (3, -1))
    assert found.sum(axis=1) == pytest.approx(1, abs=1e-5)

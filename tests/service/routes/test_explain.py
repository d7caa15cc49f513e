import json
from types import SimpleNamespace

import numpy as np
import pytest

from models.card import Card, Head, Pool, WeightsProvenance
from models.errors import BadParameter
from service.routes import explain as room
from service.routes.explain import ExplainAnswer, check, explain
from tests.support.images import jpeg

RNG = np.random.default_rng(3)
SEVERAL = Head(pools=(Pool(tap=0, start=0, stop=3), Pool(tap=2, start=3, stop=8)), embedding_size=8)
KERNEL = RNG.normal(size=(8, 4)).astype(np.float32)
BIAS = RNG.normal(size=4).astype(np.float32)


def card(head=SEVERAL, **changes):
    values = {
        "name": "pets",
        "labels": ("cat", "dog", "Käfer", "강아지"),
        "backbone": "cnn",
        "input_size": (8, 8),
    }
    provenance = WeightsProvenance(source="none", detail="")
    return Card(**{**values, "weights": provenance, "head": head, "parameters": 1, **changes})


def outputs():
    maps = {"tap_0": RNG.random((8, 6, 3), np.float32), "tap_2": RNG.random((4, 3, 5), np.float32)}
    embedding = np.concatenate([maps["tap_0"].mean((0, 1)), maps["tap_2"].mean((0, 1))])
    return {**maps, "logits": embedding @ KERNEL + BIAS}


def test_the_mean_of_the_map_plus_the_bias_is_the_logit_over_several_depths():
    found = outputs()
    for index in range(4):
        answer = explain(card(), (KERNEL, BIAS), found, index)
        assert answer.map.shape == (8, 6)
        assert answer.map.mean(dtype=np.float64) + answer.bias == pytest.approx(answer.logit, abs=1e-5)
        assert answer.logit == pytest.approx(float(found["logits"][index]))


def test_the_picture_shows_the_lead_over_the_other_labels():
    found = outputs()
    answer = explain(card(), (KERNEL, BIAS), found, 1)
    lead = found["logits"][1] - found["logits"][[0, 2, 3]].mean()
    assert answer.lead.mean(dtype=np.float64) == pytest.approx(lead, abs=1e-5)
    shifted = explain(card(), (KERNEL, BIAS + 100), found, 1)
    assert np.allclose(shifted.lead, answer.lead, atol=1e-4)


def test_the_top_label_is_the_default_and_the_temperature_calibrates():
    found = outputs()
    answer = explain(card(temperature=2.0), (KERNEL, BIAS), found, None)
    assert answer.index == found["logits"].argmax()
    powers = np.exp(found["logits"] / 2)
    assert answer.probability == pytest.approx(powers.max() / powers.sum(), abs=1e-6)


def test_labels_are_found_by_name():
    assert check(card(), "강아지") == 3
    assert check(card(), None) is None


@pytest.mark.parametrize("label", ["", "Cat", "x" * 999])
def test_an_unknown_label_is_refused_with_those_there_are(label):
    with pytest.raises(BadParameter, match="cat, dog") as caught:
        check(card(), label)
    assert len(caught.value.detail) < 300


def test_many_labels_are_not_all_listed():
    many = card(labels=tuple(f"label {number}" for number in range(1000)))
    with pytest.raises(BadParameter, match=r"label 19, \.\.\.\.") as caught:
        check(many, "cat")
    assert "label 20" not in caught.value.detail


def test_a_model_without_averaged_maps_says_so():
    with pytest.raises(BadParameter, match="no class activation map exists"):
        check(card(head=Head(embedding_size=8)), "cat")


def test_the_answers_hold_what_they_promise():
    served = SimpleNamespace(name="pets", version="1", variant="accurate", card=card())
    answer = explain(served.card, (KERNEL, BIAS), outputs(), 2)
    written = ExplainAnswer.model_validate(json.loads(room._json("7", served, answer)))
    assert (written.label, written.shape) == ("Käfer", [8, 6])
    assert np.allclose(written.map, answer.map)
    assert room._png(jpeg(40, 50), answer).startswith(b"\x89PNG")

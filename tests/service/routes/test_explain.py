import numpy as np
import pytest

from models.card import Card, Head, Pool, WeightsProvenance
from models.errors import BadParameter
from service.routes.explain import ExplainAnswer, activation, label_index, lead
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


def maps_and_logits():
    maps = {0: RNG.random((8, 6, 3), np.float32), 2: RNG.random((4, 3, 5), np.float32)}
    return maps, np.concatenate([maps[0].mean((0, 1)), maps[2].mean((0, 1))]) @ KERNEL + BIAS


def test_the_mean_of_the_map_plus_the_bias_is_the_logit_over_several_depths():
    maps, logits = maps_and_logits()
    for index in range(4):
        answer = activation(card(), (KERNEL, BIAS), maps, index)
        assert answer["map"].shape == answer["shape"] == (8, 6)
        assert answer["map"].mean(dtype=np.float64) == pytest.approx(answer["mean"])
        assert answer["mean"] + answer["bias"] == pytest.approx(logits[index], abs=1e-5)


def test_the_lead_is_over_the_other_labels():
    maps, logits = maps_and_logits()
    over_others = lead(card(), (KERNEL, BIAS), maps, 1)
    assert over_others.mean(dtype=np.float64) == pytest.approx(logits[1] - logits[[0, 2, 3]].mean(), abs=1e-5)
    assert np.allclose(lead(card(), (KERNEL, BIAS + 100), maps, 1), over_others, atol=1e-4)


def test_labels_are_found_by_name():
    assert label_index(card(), "강아지") == 3
    assert label_index(card(), None) is None


@pytest.mark.parametrize("label", ["", "Cat", "x" * 999])
def test_an_unknown_label_is_refused_with_those_there_are(label):
    with pytest.raises(BadParameter, match="cat, dog") as caught:
        label_index(card(), label)
    assert len(caught.value.detail) < 300


def test_many_labels_are_not_all_listed():
    many = card(labels=tuple(f"label {number}" for number in range(1000)))
    with pytest.raises(BadParameter, match=r"label 19, \.\.\.\.") as caught:
        label_index(many, "cat")
    assert "label 20" not in caught.value.detail


def test_a_model_without_averaged_maps_says_so():
    with pytest.raises(BadParameter, match="no class activation map exists"):
        label_index(card(head=Head(embedding_size=8)), "cat")


def test_the_top_label_is_explained_unless_one_is_named(client):
    image = jpeg(40, 50, seed=5)
    top, second = client.post("/v1/classify", content=image).json()["predictions"][:2]
    found = ExplainAnswer.model_validate(client.post("/v1/explain?format=json", content=image).json())
    assert (found.label, found.probability) == (top["label"], top["probability"])
    assert found.mean + found.bias == pytest.approx(found.logit, abs=1e-4)
    named = {"format": "json", "label": second["label"]}
    assert client.post("/v1/explain", content=image, params=named).json()["probability"] == second["probability"]
    assert client.post("/v1/explain", content=image).content.startswith(b"\x89PNG")


def test_everything_is_checked_before_the_image_is_read(client):
    assert client.post("/v1/explain?label=nobody").json()["code"] == "bad_parameter"
    assert client.post("/v1/explain?format=gif").json()["code"] == "bad_parameter"
    assert client.post("/v1/feature-maps?layer=nowhere").json()["code"] == "unknown_layer"
    assert client.post("/v1/embed?model=nobody").json()["code"] == "unknown_model"

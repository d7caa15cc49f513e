import pytest
from prometheus_client import REGISTRY

from models.card import Card, Head, Reference, WeightsProvenance
from service.inference.drift import LEAST, DriftWatch, psi


def card(reference):
    return Card(
        name="cells",
        labels=("a", "b"),
        backbone="cnn",
        input_size=(8, 8),
        weights=WeightsProvenance(source="none", detail=""),
        head=Head(embedding_size=1),
        parameters=1,
        reference=reference,
    )


REFERENCE = Reference(classes={"a": 0.5, "b": 0.5}, confidence_edges=(0.5, 0.75, 1.0), confidence=(0.5, 0.5))


def test_equal_shares_have_no_distance_and_psi_is_symmetric():
    assert psi([0.2, 0.8], [0.2, 0.8]) == 0
    assert psi([0.2, 0.8], [0.6, 0.4]) == pytest.approx(psi([0.6, 0.4], [0.2, 0.8]))
    assert psi([0.5, 0.5], [0.9, 0.1]) == pytest.approx(0.8789, abs=1e-4)


def measured(model, kind):
    return REGISTRY.get_sample_value("catseye_drift_psi", {"model": model, "kind": kind})


def test_the_metric_follows_what_is_predicted():
    watch = DriftWatch("alike", card(REFERENCE))
    for number in range(LEAST):
        watch.add("ab"[number % 2], 0.6 if number // 2 % 2 else 0.9)
    assert measured("alike", "class") < 0.01
    assert measured("alike", "confidence") < 0.01
    other = DriftWatch("moved", card(REFERENCE))
    for _ in range(LEAST):
        other.add("a", 1.0)
    assert measured("moved", "class") > 0.25
    assert measured("moved", "confidence") > 0.25


def test_few_predictions_say_nothing_and_a_card_without_reference_is_left_alone():
    watch = DriftWatch("few", card(REFERENCE))
    for _ in range(LEAST - 1):
        watch.add("a", 0.9)
    assert measured("few", "class") is None
    DriftWatch("bare", card(None)).add("a", 0.9)

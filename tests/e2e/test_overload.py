"""Under overload the fast variant may answer instead of a refusal, where the operator allows it, and says so."""

import pytest

from tests.support import servers as server
from tests.support.images import heavy, jpeg
from tests.support.load import keep_asking
from tests.support.waiting import wait_for

PHOTOGRAPH = jpeg(60, 80, seed=1)


@pytest.fixture(scope="module")
def yielding(model_store):
    with server.serving(
        model_store,
        CATSEYE_DEFAULT_MODEL="pets",
        CATSEYE_OVERLOAD_FAST="true",
        CATSEYE_THREADS="1",
        CATSEYE_QUEUE="1",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def busy_clients(yielding):
    """Others who insist on the accurate variant keep its one thread and its queue of one taken."""
    picture = heavy(2500)
    with keep_asking(lambda: yielding.client.post("/v1/classify?variant=accurate", content=picture)):
        yield


def asked_until(yielding, query, wanted):
    """The first answer like that, while the queue is full more often than not."""

    def ask():
        reply = yielding.client.post(f"/v1/classify{query}", content=PHOTOGRAPH)
        return reply if wanted(reply) else None

    return wait_for("such an answer", ask)


def test_without_overload_the_accurate_variant_answers(yielding):
    answer = yielding.client.post("/v1/classify", content=PHOTOGRAPH).json()
    assert (answer["variant"], answer.get("variant_reason")) == ("accurate", None)


def test_a_request_that_names_no_variant_gets_the_fast_one_and_the_reason(yielding, busy_clients):
    answer = asked_until(yielding, "", lambda reply: reply.json().get("variant") == "fast").json()
    assert answer["variant_reason"] == "the accurate variant's queue is full"
    assert 'catseye_downgraded_total{model="pets"}' in yielding.client.get("/metrics").text


def test_who_insists_on_the_accurate_variant_is_refused_instead(yielding, busy_clients):
    refused = asked_until(yielding, "?variant=accurate", lambda reply: reply.status_code == 503)
    assert refused.json()["code"] == "overloaded"

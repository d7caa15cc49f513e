"""New versions while the service runs: loaded beside, swapped in one step, refused when broken."""

import pytest

from models.store import store
from tests.support import networks
from tests.support import servers as server
from tests.support.images import jpeg
from tests.support.load import keep_asking
from tests.support.waiting import wait_for

PHOTOGRAPH = jpeg(80, 80, seed=1)


def make_model(name, **changes):
    """The smallest network, since what is tested here is the change from one to another."""
    return networks.make_model(name, backbone="cnn", size=32, **changes)


@pytest.fixture(scope="module")
def changing(tmp_path_factory):
    """A server that looks at a store of its own all the time, with a canary of half the requests on one model."""
    home = tmp_path_factory.mktemp("changing")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENTOML_HOME", str(home))
        make_model("steady", seed=1)
        make_model("tried", seed=2)
        with server.serving(
            home, CATSEYE_DEFAULT_MODEL="steady", CATSEYE_RELOAD_SECONDS="0.25", CATSEYE_CANARY="tried=50"
        ) as running:
            yield running


def described(changing, name):
    return changing.client.get(f"/v1/models/{name}").json()


def version_of(changing, query=""):
    reply = changing.client.post(f"/v1/classify{query}", content=PHOTOGRAPH)
    assert reply.status_code == 200, reply.text
    return reply.json()["version"]


def test_a_swap_under_load_fails_no_request_and_the_old_version_can_still_be_asked(changing):
    old = version_of(changing)
    before = changing.client.post("/v1/classify", content=PHOTOGRAPH).json()["predictions"]
    with keep_asking(lambda: changing.client.post("/v1/classify", content=PHOTOGRAPH)) as replies:
        new = make_model("steady", seed=5).version
        wait_for("the new version", lambda: version_of(changing) == new)
        for _ in range(10):
            assert version_of(changing) == new
    assert {reply.status_code for reply in replies} == {200}
    assert {reply.json()["version"] for reply in replies} == {old, new}
    rolled_back = changing.client.post(f"/v1/classify?version={old}", content=PHOTOGRAPH).json()
    assert rolled_back["predictions"] == before
    assert described(changing, "steady")["variants"]["accurate"]["loaded_versions"] == [new, old]


def test_a_broken_version_is_refused_and_named_and_the_old_one_goes_on(changing):
    good = version_of(changing)
    broken = make_model("steady", seed=6, broken=True)
    reason = wait_for("the change", lambda: described(changing, "steady")["refused"].get(broken.version))
    assert "float32" in reason
    assert version_of(changing) == good
    text = changing.client.get("/metrics").text
    assert 'catseye_model_load_failures_total{model="steady"} 1.0' in text
    assert 'catseye_model_broken{model="steady"} 1.0' in text
    assert changing.client.get("/readyz").status_code == 200
    assert broken.version in changing.client.get("/v1/models").json()["refused"]["steady"]


def test_a_model_that_is_new_is_served_by_its_name(changing):
    added = make_model("added", seed=7, labels=("left", "right"))
    wait_for("the change", lambda: changing.client.get("/v1/models/added").status_code == 200)
    reply = changing.client.post("/v1/classify?model=added", content=PHOTOGRAPH).json()
    assert reply["version"] == added.version
    assert {prediction["label"] for prediction in reply["predictions"]} == {"left", "right"}


def test_a_canary_gets_its_share_and_the_same_requests_always(changing):
    old = version_of(changing, "?model=tried")
    new = make_model("tried", seed=8).version
    wait_for("the change", lambda: described(changing, "tried")["variants"]["accurate"]["canary"] == new)

    def asked(number):
        headers = {"x-request-id": f"user-{number}"}
        return changing.client.post("/v1/classify?model=tried", content=PHOTOGRAPH, headers=headers).json()["version"]

    first = [asked(number) for number in range(60)]
    assert [asked(number) for number in range(60)] == first
    assert set(first) == {old, new}
    assert 15 <= first.count(new) <= 45
    assert version_of(changing, f"?model=tried&version={new}") == new
    assert store.get("tried").version == new


def test_a_deleted_version_is_served_no_more_and_no_request_notices(changing):
    before = version_of(changing)
    newest = make_model("steady", seed=9)
    wait_for("the new version", lambda: version_of(changing) == newest.version)
    with keep_asking(lambda: changing.client.post("/v1/classify", content=PHOTOGRAPH)) as replies:
        store.delete(newest.tag)
        wait_for("the change", lambda: newest.version not in changing.client.get("/v1/models").text)
    assert {reply.status_code for reply in replies} == {200}
    assert version_of(changing) == before
    assert changing.client.post(f"/v1/classify?version={newest.version}", content=PHOTOGRAPH).status_code == 404


def test_a_deleted_model_is_listed_no_more(changing):
    added = make_model("passing", seed=10)
    wait_for("the change", lambda: changing.client.get("/v1/models/passing").status_code == 200)
    store.delete(added.tag)
    wait_for("the change", lambda: changing.client.get("/v1/models/passing").status_code == 404)
    assert "passing" not in changing.client.get("/v1/models").text
    assert f'version="{added.version}"' in changing.client.get("/metrics").text  # its counts stay

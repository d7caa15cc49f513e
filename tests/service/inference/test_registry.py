import gc
import shutil
import weakref
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from models.errors import StoreError, UnknownModel
from models.store import store
from service.inference.registry import Registry, describe, share_of
from tests.support.cards import small_card

START = datetime(2026, 1, 1, tzinfo=UTC)


class Loaded:
    """A loaded model, without a network: what the registry does must not depend on one."""

    def __init__(self, stored):
        if stored.card.settings.get("broken"):
            raise StoreError("The file is broken. Store it again.")
        self.stored, self.card, self.version = stored, stored.card, stored.version
        self.name = stored.card.variant_of or stored.name
        self.variant = "fast" if stored.card.variant_of else "accurate"
        self.serves = True

    def activate(self):
        pass

    def retire(self):
        self.serves = False

    def describe(self):
        return {"version": self.version}


@pytest.fixture
def keep(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    counter = iter(range(100))

    def put(name, **changes):
        created = START + timedelta(minutes=next(counter))
        return store.save(small_card(name, created=created, **changes), lambda folder: None)

    return put


def test_a_new_version_takes_over_and_the_old_one_can_still_be_asked(keep):
    first = keep("cells")
    registry = Registry(Loaded)
    registry.refresh()
    assert registry.find(None).version == first.version
    registry.refresh()
    second = keep("cells")
    registry.refresh()
    assert registry.find("cells").version == second.version
    old = registry.find("cells", first.version)
    third = keep("cells")
    registry.refresh()
    assert registry.find("cells", second.version).version == second.version
    assert registry.find("cells").version == third.version
    assert not old.serves
    with pytest.raises(UnknownModel, match="Loaded are"):
        registry.find("cells", first.version)


def test_a_broken_version_is_refused_and_named_and_the_old_one_goes_on(keep):
    good = keep("cells")
    registry = Registry(Loaded)
    registry.refresh()
    bad = keep("cells", settings={"broken": True})
    registry.refresh()
    registry.refresh()
    assert registry.find("cells").version == good.version
    assert "broken" in describe(registry, "cells")["refused"][bad.version]


def test_a_pinned_version_stays(keep):
    first = keep("cells")
    keep("cells")
    registry = Registry(Loaded, names=[first.tag])
    registry.refresh()
    keep("cells")
    registry.refresh()
    assert registry.find("cells").version == first.version


def test_only_the_named_models_are_served_with_their_fast_variants(keep):
    keep("cells")
    keep("pets")
    keep("cells-fast", variant_of="cells")
    registry = Registry(Loaded, names=["cells"])
    registry.refresh()
    assert registry.names() == ["cells"]
    assert [served.variant for served in registry.variants("cells")] == ["accurate", "fast"]
    with pytest.raises(UnknownModel, match="Served are: cells"):
        registry.find("pets")


def on_trial(keep):
    """A registry that gives a quarter of the requests to the second of two versions."""
    old = keep("cells")
    registry = Registry(Loaded, canary={"cells": 25.0})
    registry.refresh()
    new = keep("cells")
    registry.refresh()
    return registry, old, new


def test_a_canary_gets_its_share_always_the_same_requests(keep):
    registry, old, new = on_trial(keep)
    ids = [f"request-{number}" for number in range(2000)]
    chosen = [registry.find("cells", request_id=each).version for each in ids]
    assert set(chosen) == {old.version, new.version}
    assert 0.2 < chosen.count(new.version) / len(ids) < 0.3
    assert chosen == [registry.find("cells", request_id=each).version for each in ids]
    assert registry.find("cells", new.version).version == new.version


def test_an_empty_store_says_what_to_do(keep):
    registry = Registry(Loaded)
    registry.refresh()
    with pytest.raises(UnknownModel, match="catseye train"):
        registry.find(None)


def test_shares_are_even():
    shares = [share_of(str(number)) for number in range(4000)]
    assert all(0 <= share < 100 for share in shares)
    assert 45 < sum(shares) / len(shares) < 55


def test_the_fast_variant_that_is_not_there_says_how_to_make_it(keep):
    keep("cells")
    registry = Registry(Loaded)
    registry.refresh()
    with pytest.raises(UnknownModel, match="--variant-of cells"):
        registry.find("cells", variant="fast")
    assert SimpleNamespace(**describe(registry, "cells")).default


def test_a_worker_that_starts_beside_a_broken_version_serves_the_one_before(keep):
    oldest, good = keep("cells"), keep("cells")
    bad = keep("cells", settings={"broken": True})
    registry = Registry(Loaded)
    registry.refresh()
    assert registry.find("cells").version == good.version
    assert list(registry.refused()["cells"]) == [bad.version]
    registry.refresh()
    assert loaded(registry) == [good.version]
    mended = keep("cells")
    registry.refresh()
    assert registry.find("cells").version == mended.version
    assert oldest.version not in registry.refused()["cells"]


def loaded(registry, name="cells"):
    if name not in registry.names():
        return []
    return [served.version for served in registry.loaded(name)["accurate"].all()]


def test_a_deleted_version_is_let_go_and_the_one_before_serves(keep):
    oldest, middle, newest = keep("cells"), keep("cells"), None
    registry = Registry(Loaded)
    registry.refresh()
    newest = keep("cells")
    registry.refresh()
    assert loaded(registry) == [newest.version, middle.version]
    store.delete(newest.tag)
    registry.refresh()
    assert loaded(registry) == [middle.version]
    with pytest.raises(UnknownModel, match="Loaded are"):
        registry.find("cells", newest.version)
    store.delete(middle.tag)
    registry.refresh()
    assert loaded(registry) == [oldest.version]


def test_a_deleted_version_goes_only_when_its_heir_is_loaded(keep):
    good = keep("cells")
    newest = keep("cells")
    current = []

    def load(stored):
        current.extend(loaded(registry))
        return Loaded(stored)

    registry = Registry(load)
    registry.refresh()
    store.delete(newest.tag)
    bad = keep("cells", settings={"broken": True})
    registry.refresh()
    assert current[-1] == newest.version
    assert loaded(registry) == [good.version]
    assert list(registry.refused()["cells"]) == [bad.version]


def test_a_deleted_model_is_no_longer_listed_and_the_others_are(keep):
    cells = keep("cells")
    keep("pets")
    registry = Registry(Loaded)
    registry.refresh()
    assert registry.names() == ["cells", "pets"]
    store.delete(cells.tag)
    registry.refresh()
    assert registry.names() == ["pets"]
    with pytest.raises(UnknownModel, match="Served are: pets"):
        registry.find("cells")


def test_the_last_model_goes_where_it_was_deleted_and_stays_where_the_store_is_away(keep, tmp_path):
    model = keep("cells")
    registry = Registry(Loaded)
    registry.refresh()
    shutil.move(tmp_path / "models", tmp_path / "aside")
    for _ in range(2):
        with pytest.raises(StoreError, match="Bring it back"):
            registry.refresh()
        assert registry.find(None).version == model.version
    shutil.move(tmp_path / "aside", tmp_path / "models")
    registry.refresh()
    assert loaded(registry) == [model.version]
    store.delete(model.tag)
    registry.refresh()
    assert registry.names() == []


def test_a_store_that_cannot_be_read_changes_nothing(keep, tmp_path):
    model = keep("cells")
    registry = Registry(Loaded)
    registry.refresh()
    (tmp_path / "models").rename(tmp_path / "aside")
    (tmp_path / "models").symlink_to(tmp_path / "models")
    with pytest.raises(StoreError, match="cannot be read"):
        registry.refresh()
    assert registry.find(None).version == model.version


def test_a_version_on_trial_that_is_deleted_ends_its_trial(keep):
    registry, old, new = on_trial(keep)
    store.delete(new.tag)
    registry.refresh()
    assert loaded(registry) == [old.version]


def test_a_request_keeps_what_it_found_and_then_it_is_gone(keep):
    keep("pets")
    model = keep("cells")
    registry = Registry(Loaded)
    registry.refresh()
    found = registry.find("cells")
    watched = weakref.ref(found)
    store.delete(model.tag)
    registry.refresh()
    gc.collect()
    assert watched() is found
    del found
    gc.collect()
    assert watched() is None


def test_a_broken_version_that_is_deleted_is_forgotten(keep):
    keep("cells")
    registry = Registry(Loaded)
    bad = keep("cells", settings={"broken": True})
    registry.refresh()
    assert registry.refused()["cells"]
    store.delete(bad.tag)
    registry.refresh()
    assert not registry.refused()


def test_a_pinned_version_that_is_not_there_yet_is_served_when_it_comes(keep, tmp_path):
    keep("pets")
    registry = Registry(Loaded, names=["cells:v1"])
    for _ in range(2):
        registry.refresh()
        assert "no model 'cells:v1'" in registry.refused()["cells"]["v1"]
    store.save(small_card("cells"), lambda folder: None, version="v1")
    registry.refresh()
    assert loaded(registry) == ["v1"]
    assert not registry.refused()


def test_a_canary_goes_on_after_a_restart(keep):
    oldest, old = keep("cells"), keep("cells")
    new = keep("cells")
    registry = Registry(Loaded, canary={"cells": 25.0})
    registry.refresh()
    assert describe(registry, "cells")["variants"]["accurate"]["canary"] == new.version
    assert loaded(registry) == [new.version, old.version]
    chosen = [registry.find("cells", request_id=f"request-{number}").version for number in range(400)]
    assert 0.15 < chosen.count(new.version) / 400 < 0.35
    with pytest.raises(UnknownModel):
        registry.find("cells", oldest.version)


@pytest.mark.parametrize("weight", [0.0, 25.0])
def test_the_only_version_that_can_be_loaded_is_current_whatever_its_canary_share(keep, weight):
    good = keep("cells")
    keep("cells", settings={"broken": True})
    registry = Registry(Loaded, canary={"cells": weight})
    registry.refresh()
    assert loaded(registry) == [good.version]
    assert registry.find("cells").version == good.version


class Failing:
    """Loads after so many failures."""

    def __init__(self, *errors):
        self.errors = list(errors)
        self.tried = 0

    def __call__(self, stored):
        self.tried += 1
        if self.errors:
            raise self.errors.pop(0)
        return Loaded(stored)


def caused(error):
    wrapped = StoreError("It cannot be run. Export it again.")
    wrapped.__cause__ = error
    return wrapped


@pytest.mark.parametrize("error", [MemoryError(), OSError(5, "Input/output error"), caused(OSError(24, "Too many"))])
def test_a_failure_that_may_pass_is_tried_again(keep, error):
    model = keep("cells")
    load = Failing(error, error)
    registry = Registry(load, retry_seconds=0)
    for _ in range(2):
        registry.refresh()
        assert list(registry.refused()["cells"]) == [model.version]
    registry.refresh()
    assert loaded(registry) == [model.version]
    assert not registry.refused()
    assert load.tried == 3


def test_a_failure_that_may_pass_is_not_tried_at_every_look(keep):
    keep("cells")
    load = Failing(MemoryError(), MemoryError())
    registry = Registry(load, retry_seconds=3600)
    for _ in range(3):
        registry.refresh()
    assert load.tried == 1


def test_a_runtime_that_fails_with_files_as_stored_is_tried_again_and_with_others_not(keep, tmp_path):
    created = START + timedelta(days=1)
    whole = store.save(small_card("cells", created=created), lambda folder: (folder / "weights").write_bytes(b"w"))
    load = Failing(*(caused(RuntimeError("no memory")) for _ in range(2)))
    registry = Registry(load, retry_seconds=0)
    for _ in range(3):
        registry.refresh()
    assert loaded(registry) == [whole.version]
    keep("pets")  # a card without hashes, so the file may be anything
    load.errors = [caused(RuntimeError("bad file")) for _ in range(9)]
    for _ in range(3):
        registry.refresh()
    assert "pets" not in registry.names()
    assert load.tried == 4


def test_a_broken_version_is_tried_again_when_its_files_change(keep):
    model = keep("cells")
    load = Failing(*(StoreError("It is broken. Store it again.") for _ in range(2)))
    registry = Registry(load, retry_seconds=0)
    for _ in range(3):
        registry.refresh()
    assert load.tried == 1
    (model.path / "weights").write_bytes(b"other")
    for _ in range(3):
        registry.refresh()
    assert load.tried == 2
    (model.path / "weights").write_bytes(b"the right ones")
    registry.refresh()
    assert loaded(registry) == [model.version]

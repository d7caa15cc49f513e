from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from models import store
from models.errors import StoreError, UnknownModel
from service.registry import Registry, describe, share_of
from tests.models.cards import small_card

START = datetime(2026, 1, 1, tzinfo=UTC)


class Loaded:
    """A loaded model, without a network: what the registry does must not depend on one."""

    def __init__(self, stored):
        if stored.card.settings.get("broken"):
            raise StoreError("The file is broken. Store it again.")
        self.stored, self.card, self.version = stored, stored.card, stored.version
        self.name = stored.card.variant_of or stored.name
        self.variant = "fast" if stored.card.variant_of else "accurate"
        self.closed = False

    def open(self):
        pass

    def close(self):
        self.closed = True

    def describe(self):
        return {"version": self.version}


@pytest.fixture
def keep(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "store_home", lambda: tmp_path)
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
    second = keep("cells")
    registry.refresh()
    assert registry.find("cells").version == second.version
    old = registry.find("cells", first.version)
    third = keep("cells")
    registry.refresh()
    assert registry.find("cells", second.version).version == second.version
    assert registry.find("cells").version == third.version
    assert old.closed
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


def test_a_canary_gets_its_share_always_the_same_requests(keep):
    old = keep("cells")
    registry = Registry(Loaded, canary={"cells": 25.0})
    registry.refresh()
    new = keep("cells")
    registry.refresh()
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
    assert [served.version for served in registry.slots("cells")["accurate"].versions()] == [good.version]
    mended = keep("cells")
    registry.refresh()
    assert registry.find("cells").version == mended.version
    assert oldest.version not in registry.refused()["cells"]

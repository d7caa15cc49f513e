import shutil
from pathlib import Path

import pytest

from models.errors import StoreError
from models.store import store
from models.store.store import is_missing, was_deleted
from tests.support.cards import small_card, writer


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "models"


def test_what_is_missing_beside_other_models_was_deleted(models: Path) -> None:
    kept, gone = (store.save(small_card(name), writer()) for name in ("cells", "pets"))
    assert not was_deleted(gone)
    shutil.rmtree(gone.path.parent)
    assert was_deleted(gone)
    assert not was_deleted(kept)


def test_a_model_whose_card_is_damaged_was_not_deleted(models: Path) -> None:
    damaged, _ = (store.save(small_card(), writer()) for _ in range(2))
    (damaged.path / "card.json").write_text("{")
    assert not is_missing(damaged)
    assert not was_deleted(damaged)


def test_an_empty_store_forgets_nothing_unless_its_last_model_was_deleted(models: Path) -> None:
    model = store.save(small_card(), writer())
    models.rename(models.with_name("aside"))
    assert is_missing(model)
    assert not was_deleted(model)
    models.mkdir()
    assert not was_deleted(model)
    models.rmdir()
    models.with_name("aside").rename(models)
    store.delete(model.tag)
    assert was_deleted(model)
    again = store.save(small_card(), writer())
    shutil.rmtree(again.path.parent)
    assert not was_deleted(again)


def test_it_is_seen_through_the_link_that_a_server_has(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = models.parent.with_name("private")
    private.mkdir()
    models.mkdir(parents=True)
    (private / "models").symlink_to(models)
    model = store.save(small_card(), writer())
    store.delete(model.tag)
    monkeypatch.setenv("BENTOML_HOME", str(private))
    assert was_deleted(model)


def test_a_store_that_cannot_be_read_says_so(models: Path) -> None:
    model = store.save(small_card(), writer())
    models.rename(models.with_name("aside"))
    models.symlink_to(models)
    assert not is_missing(model)
    assert not was_deleted(model)
    with pytest.raises(StoreError, match="cannot be read"):
        store.list_models()

import importlib.metadata
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.card import Export
from models.errors import BadParameter, StoreError, UnknownModel
from models.export.head import read_head
from models.store import archive, store
from tests.support.cards import at, run_on, small_card, writer

ROOT = Path(__file__).parents[3]


def staged(home: Path) -> list[str]:
    return [path.name for path in (home / "catseye" / "staging").glob("*")]


def test_save_and_get(home: Path) -> None:
    saved = store.save(small_card(), writer())
    assert saved.path == home / "models" / "cells" / saved.version
    for tag in ("cells", "cells:latest", saved.tag):
        assert store.get(tag) == saved
    assert set(saved.card.files) == {"model.keras", "openvino/float32.bin"}
    assert saved.keras_path.read_bytes() == bytes(1000)
    store.verify(saved)
    assert staged(home) == []


def test_an_empty_store_is_no_error(home: Path) -> None:
    assert store.list_models() == []
    assert store.list_models("cells") == []
    with pytest.raises(UnknownModel, match="store is empty"):
        store.get("cells")


def test_newest_first_and_versions_sort_by_time(home: Path) -> None:
    saved = [store.save(small_card(name), writer()) for name in ("cells", "cells", "dogs", "cells")]
    assert store.list_models() == saved[::-1]
    assert [model.name for model in store.list_models("cells")] == ["cells"] * 3
    versions = [model.version for model in saved]
    assert versions == sorted(versions)
    assert store.get("cells") == saved[-1]


def test_a_clock_set_back_does_not_hide_the_new_model(home: Path) -> None:
    store.save(small_card(created=at(30)), writer())
    second = store.save(small_card(created=at(10)), writer())
    assert store.get("cells") == second
    assert second.card.created > at(30)


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/b", "a\\b", "A", "고양이", "-a", "a-", "latest", "a" * 64, "a\n", "a\0b"]
)
def test_impossible_names_and_versions(home: Path, name: str) -> None:
    with pytest.raises(BadParameter, match="is no valid"):
        store.save(small_card(name), writer())
    with pytest.raises(BadParameter, match="is no valid version"):
        store.save(small_card(), writer(), version=name)
    for tag in (name, f"{name}:v1", f"cells:{name}:v"):
        with pytest.raises(UnknownModel):
            store.get(tag)
        with pytest.raises((UnknownModel, BadParameter)):
            store.delete(tag)
    assert store.list_models(name) == []


def test_unknown_tags_say_what_there_is(home: Path) -> None:
    saved = store.save(small_card(), writer())
    with pytest.raises(UnknownModel, match="The store holds cells"):
        store.get("cats")
    with pytest.raises(UnknownModel, match=saved.version):
        store.get("cells:other")


def test_a_version_is_stored_once(home: Path) -> None:
    store.save(small_card(), writer(), version="v1")
    with pytest.raises(StoreError, match="exists already"):
        store.save(small_card(), writer(), version="v1")
    assert len(store.list_models()) == 1
    assert staged(home) == []


def test_a_failing_writer_stores_nothing(home: Path) -> None:
    def write(folder: Path) -> None:
        writer()(folder)
        raise KeyError("broken")

    with pytest.raises(KeyError):
        store.save(small_card(), write)
    assert store.list_models() == []
    assert staged(home) == []


def test_links_and_missing_exports_are_refused(home: Path) -> None:
    with pytest.raises(StoreError, match="not a regular file"):
        store.save(small_card(), lambda folder: (folder / "link").symlink_to("/etc"))
    export = Export(precision="float32", file="openvino/float32.xml", sha256="0")
    with pytest.raises(StoreError, match="was not written"):
        store.save(small_card(exports=(export,)), writer())
    assert store.list_models() == []


def test_exports_and_head_of_a_model(home: Path) -> None:
    export = Export(precision="float32", file="openvino/float32.xml", sha256="0")

    def write(folder: Path) -> None:
        writer(files=(export.file,))(folder)
        np.savez(folder / "head.npz", kernel=np.ones((4, 2), np.float32), bias=np.zeros(2, np.float32))

    saved = store.save(small_card(exports=(export,)), write)
    assert saved.export_path() == saved.path / export.file
    kernel, bias = read_head(saved.path)
    assert kernel.shape == (4, 2)
    assert bias.shape == (2,)
    with pytest.raises(StoreError, match="no int8 export, only float32"):
        saved.export_path("int8")


def test_verify_names_the_file(home: Path) -> None:
    saved = store.save(small_card(), writer())
    with (saved.path / "openvino/float32.bin").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(StoreError, match=r"openvino/float32\.bin .* is not what was stored"):
        store.verify(saved)
    (saved.path / "openvino/float32.bin").unlink()
    with pytest.raises(StoreError, match=r"openvino/float32\.bin .* is missing"):
        store.verify(saved)
    with pytest.raises(StoreError, match="not listed"):
        store.check_file(saved, "other")


def test_foreign_and_broken_models_are_named_once(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    good = store.save(small_card(), writer())
    broken = store.save(small_card(), writer())
    (broken.path / "card.json").write_text("{}")
    newer = store.save(small_card("newer"), writer())
    card = json.loads((newer.path / "card.json").read_text())
    (newer.path / "card.json").write_text(json.dumps(card | {"schema_version": 99}))
    moved = store.save(small_card("moved"), writer())
    moved.path.parent.rename(home / "models" / "elsewhere")
    (home / "models" / "foreign" / "v1").mkdir(parents=True)
    (home / "models" / ".hidden" / "v1").mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert store.list_models() == [good]
        assert store.list_models() == [good]
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 4
    for name in (broken.tag, newer.tag, "foreign:v1", f"elsewhere:{moved.version}"):
        assert sum(f"Skipping model {name}." in message for message in messages) == 1
    with pytest.raises(StoreError, match="no model card"):
        store.get("cells")
    with pytest.raises(UnknownModel, match="not made by catseye"):
        store.get("foreign:v1")


@pytest.mark.parametrize("pointer", ["", "gone", "../../x", "\xff" * 9])
def test_a_bad_latest_pointer_means_the_newest(home: Path, pointer: str) -> None:
    store.save(small_card(), writer())
    newest = store.save(small_card(), writer())
    (home / "models" / "cells" / "latest").write_bytes(pointer.encode("latin-1"))
    assert store.get("cells") == newest


def test_delete(home: Path) -> None:
    first, second = (store.save(small_card(), writer()) for _ in range(2))
    with pytest.raises(BadParameter, match="which version"):
        store.delete("cells")
    with pytest.raises(UnknownModel):
        store.delete("cells:gone")
    assert store.delete("cells:latest") == second
    assert store.get("cells") == first
    assert (home / "models" / "cells" / "latest").read_text() == first.version
    (first.path / "card.json").unlink()
    assert store.delete(first.tag) is None
    assert not (home / "models" / "cells").exists()
    assert staged(home) == []


def bentoml(home: Path, *command: str) -> str:
    environment = os.environ | {"BENTOML_HOME": str(home)}
    command = (sys.executable, "-m", "bentoml", "models", *command)
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout


def test_bentoml_lists_shows_and_exports_our_models(home: Path, tmp_path: Path) -> None:
    saved = store.save(
        small_card(labels=("가", "나"), created=at(5), versions={"keras": "3"}), writer(files=("a.bin",))
    )
    assert [row["tag"] for row in json.loads(bentoml(home, "list", "-o", "json"))] == [saved.tag]
    shown = json.loads(bentoml(home, "get", saved.tag, "-o", "json"))
    assert (shown["name"], shown["version"], shown["creation_time"]) == ("cells", saved.version, at(5).isoformat())
    assert shown["labels"] == {"product": "catseye", "backbone": "mobilenet_v2"}
    assert shown["metadata"] == {"labels": ["가", "나"], "input_size": [32, 32]}
    assert shown["context"]["framework_versions"] == {"keras": "3"}
    assert shown["context"]["bentoml_version"] == importlib.metadata.version("bentoml")
    bentoml(home, "export", saved.tag, str(tmp_path / "exported.bentomodel"))
    store.delete(saved.tag)
    assert archive.import_archive(tmp_path / "exported.bentomodel") == saved


def test_reading_needs_neither_bentoml_nor_keras(home: Path) -> None:
    saved = store.save(small_card(), writer())
    code = """
import sys
from models.store import store
store.verify(store.get("cells"))
print(store.list_models()[0].tag)
assert not {"bentoml", "keras", "tensorflow", "openvino"} & set(sys.modules)
"""
    assert run_on(home, code).strip() == saved.tag


def test_scripts_of_users_import_the_store_from_models() -> None:
    from models import store as public

    assert public.delete is store.delete
    assert set(public.__all__) <= set(dir(public))

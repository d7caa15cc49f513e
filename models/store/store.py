"""The model store: BentoML's folder of models, with our own files and the card in each.

A model appears in one step (a rename) or not at all, so that a killed process, a full disk or a power
cut leaves a readable store. ``bentoml models list`` lists these models. Reading needs only the folders, not BentoML,
so that a service can poll them every second.

A model's folder holds ``card.json``, ``model.keras``, ``openvino/float32.xml`` and ``.bin``, ``head.npz``
and, where they were made, ``openvino/int8.*``, ``history.json``, ``report.html`` and ``plots/``.
"""

import importlib.metadata
import logging
import os
import platform
import re
import secrets
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import yaml

from models.card import CARD_FILE, Card, FilePrecision, read_card
from models.errors import BadParameter, StoreError, UnknownModel
from models.files import disk_errors, files_below, sha256_of, sync, sync_tree, write_whole
from models.store.staging import exclusive, note_emptied, staging, was_emptied

logger = logging.getLogger(__name__)

KERAS_FILE = "model.keras"
BENTOML_FILE = "model.yaml"

# BentoML's own rule for a tag, which also keeps every name inside the store's folder.
_WORD = re.compile(r"[a-z0-9]([-._a-z0-9]*[a-z0-9])?")
_WORD_LENGTH = 63
_warned: set[tuple[str, str]] = set()


@dataclass(frozen=True)
class StoredModel:
    """One version of one model, and where its files are."""

    name: str
    version: str
    path: Path
    card: Card

    @property
    def tag(self) -> str:
        """``name:version``."""
        return f"{self.name}:{self.version}"

    @property
    def keras_path(self) -> Path:
        """The Keras model."""
        return self.path / KERAS_FILE

    def export_path(self, precision: FilePrecision = "float32") -> Path:
        """The OpenVINO ``.xml`` of that precision; ``StoreError`` where the card has none."""
        for export in self.card.exports:
            if export.precision == precision:
                return self.path / export.file
        have = ", ".join(export.precision for export in self.card.exports) or "nothing"
        raise StoreError(f"Model {self.tag} has no {precision} export, only {have}. Export it first.")


def store_home() -> Path:
    """BentoML's home: ``BENTOML_HOME``, or ``~/bentoml``. The models are in its folder ``models``."""
    return Path(os.path.expandvars(os.environ.get("BENTOML_HOME") or "~/bentoml")).expanduser()


def check_name(word: str, what: str = "model name") -> str:
    """``word`` itself, or ``BadParameter`` if a model's name or version cannot be spelled so."""
    if len(word) > _WORD_LENGTH or not _WORD.fullmatch(word):
        raise BadParameter(
            f"{word[:80]!r} is no valid {what}. Use at most {_WORD_LENGTH} of a-z, 0-9, '-', '_' and '.', "
            "starting and ending with a letter or digit."
        )
    if word == "latest":
        raise BadParameter(f"'latest' is no valid {what}, since it means the newest version. Use another.")
    return word


def save(card: Card, write: Callable[[Path], object], *, version: str | None = None) -> StoredModel:
    """Store a model: ``write`` fills an empty folder, and the whole of it appears at once.

    The card is completed with the files' hashes, and with a later ``created`` if a clock jumped. Without
    ``version`` one is made from the time. Raises ``BadParameter`` for an impossible name, and ``StoreError``
    where the disk is full, the version exists, or ``write`` left out an export of the card; then nothing
    was stored.
    """
    check_name(card.name)
    if version is not None:
        check_name(version, "version")
    with disk_errors(f"Model {card.name} could not be stored"), staging(store_home()) as folder:
        write(folder)
        return publish(folder, card, version)


def publish(folder: Path, card: Card, version: str | None, *, keep_created: bool = False) -> StoredModel:
    """Move a filled staging ``folder`` into the store; for this module and ``archive``."""
    card = card.model_copy(update={"files": _hashes(folder)})
    sync_tree(folder)
    missing = [export.file for export in card.exports if export.file not in card.files]
    if missing:
        raise StoreError(f"The card of {card.name} names {missing[0]}, which was not written. Export it again.")
    root = store_home() / "models"
    with exclusive(store_home()):
        newest = next(iter(list_models(card.name)), None)
        if not keep_created and newest is not None:
            # Versions are ordered by time, even where a clock was set back.
            created = max(card.created, newest.card.created + timedelta(microseconds=1))
            card = card.model_copy(update={"created": created})
        version = version or _version_of(card.created)
        target = root / card.name / version
        if target.exists():
            raise StoreError(f"Model {card.name}:{version} exists already. Give another version, or delete it.")
        write_whole(folder / CARD_FILE, card.model_dump_json(indent=2).encode())
        write_whole(folder / BENTOML_FILE, _bentoml_yaml(card, version).encode())
        target.parent.mkdir(parents=True, exist_ok=True)
        if newest is None or card.created >= newest.card.created:
            # Before the rename: a pointer to a version that is not there yet means the newest that is,
            # and so the rename alone decides. After it, a full disk could leave a model nobody points to.
            _point(target, folder)
        note_emptied(store_home(), False)
        folder.rename(target)
        sync(target.parent)
        sync(root)
    return StoredModel(card.name, version, target, card)


def get(tag: str) -> StoredModel:
    """The model ``name``, ``name:latest`` or ``name:version``.

    Raises ``UnknownModel``, and ``StoreError`` where it is there but broken.
    """
    name, _, version = tag.partition(":")
    version = version or "latest"
    root = store_home() / "models"
    if _valid(name) and version == "latest":
        pointed = _pointed(root / name)
        if pointed is not None:
            return _read(root / name / pointed)
        newest = next(iter(list_models(name)), None)
        if newest is not None:
            return newest
    elif _valid(name) and _valid(version) and (root / name / version).is_dir():
        return _read(root / name / version)
    raise UnknownModel(f"There is no model {tag[:130]!r}. {_what_there_is(name)}")


def list_models(name: str | None = None) -> list[StoredModel]:
    """Every readable model (of that name), newest first; others are skipped with one warning each."""
    root = store_home() / "models"
    names = filter(_valid, [name] if name is not None else _folders(root))
    found = []
    for path in (root / each / version for each in names for version in _folders(root / each)):
        try:
            found.append(_read(path))
        except FileNotFoundError:
            continue  # deleted meanwhile
        except (StoreError, UnknownModel) as error:
            _warn_once(path, error.detail)
    return sorted(found, key=lambda model: (model.card.created, model.version), reverse=True)


def delete(tag: str) -> StoredModel | None:
    """Remove ``name:version`` or ``name:latest`` in one step; returns what it was if it was readable.

    Raises ``UnknownModel``, and ``BadParameter`` if the version is left out.
    """
    name, colon, version = tag.partition(":")
    if not colon:
        raise BadParameter(f"{tag[:130]!r} does not say which version to delete. {_what_there_is(name)}")
    home = store_home()
    with disk_errors(f"Model {tag[:130]} could not be deleted"), staging(home) as bin_, exclusive(home):
        if version == "latest":
            version = get(tag).version
        path = home / "models" / name / version
        if not (_valid(name) and _valid(version) and path.is_dir()):
            raise UnknownModel(f"There is no model {tag[:130]!r}. {_what_there_is(name)}")
        models = list_models(name)
        rest = [model for model in models if model.version != version]
        if rest and _pointed(path.parent) == version:
            _point(rest[0].path, bin_)
        if not rest and all(model.name == name for model in list_models()):
            note_emptied(home, True)
        path.rename(bin_ / version)
        if not _folders(path.parent):
            shutil.rmtree(path.parent)
        return next((model for model in models if model.version == version), None)


def was_deleted(model: StoredModel) -> bool:
    """Whether the model was deleted; False where it is there, or the whole store may be unmounted.

    A lost mount leaves an empty folder, which looks like a store without models. So a missing model counts as deleted
    only where there are other models, or where the store notes that its last one was deleted (``staging``).
    Raises ``StoreError`` where the store cannot be read.
    """
    if not is_missing(model):
        return False
    # By way of the link that a server may have in place of the folder: see ``service.process.supervisor.private_home``.
    home = (store_home() / "models").resolve().parent
    return bool(list_models()) or was_emptied(home)


def is_missing(model: StoredModel) -> bool:
    """Whether the model's folder does not exist; False where the file system cannot tell."""
    try:
        model.path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def verify(model: StoredModel) -> None:
    """Compare every file with the card's hashes; ``StoreError`` names the first that differs."""
    for file in model.card.files:
        check_file(model, file)


def check_file(model: StoredModel, file: str) -> None:
    """Compare one file, by its path inside the model's folder, with the card's hash."""
    expected = model.card.files.get(file)
    path = model.path / file
    if expected is None:
        raise StoreError(f"{file} is not listed on the card of model {model.tag}. Store the model again.")
    if not path.is_file():
        raise StoreError(f"{file} of model {model.tag} is missing. Store the model again, or serve another.")
    with disk_errors(f"{file} of model {model.tag} cannot be read"):
        actual = sha256_of(path)
    if actual != expected:
        raise StoreError(
            f"{file} of model {model.tag} is not what was stored (its SHA-256 differs). "
            "Store the model again, or serve another."
        )


def _bentoml_yaml(card: Card, version: str) -> str:
    """The text of ``model.yaml``, as ``bentoml.models.create`` writes it.

    ``create`` itself copies a folder into the store file by file, so a killed process leaves half a model.
    """
    description = {
        "name": card.name,
        "version": version,
        "module": "",
        "labels": {"product": "catseye", "backbone": card.backbone},
        "options": {},
        "metadata": {"labels": list(card.labels), "input_size": list(card.input_size)},
        "context": {
            "framework_name": "catseye",
            "framework_versions": dict(card.versions),
            "bentoml_version": importlib.metadata.version("bentoml"),
            "python_version": platform.python_version(),
        },
        "signatures": {},
        "api_version": "v1",
        "creation_time": card.created.isoformat(),
    }
    return yaml.safe_dump(description, sort_keys=False)


def _version_of(created: datetime) -> str:
    """Sorts by time to the microsecond, and ends in random digits."""
    return f"{created:%Y%m%dt%H%M%S}-{created.microsecond:05x}{secrets.token_hex(2)}"


def _valid(word: str) -> bool:
    return word != "latest" and len(word) <= _WORD_LENGTH and _WORD.fullmatch(word) is not None


def _folders(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        reason = f"The model store {path} cannot be read: {error.strerror}."
        raise StoreError(f"{reason} Check its permissions.") from error


def _pointed(folder: Path) -> str | None:
    """The version that BentoML's file ``latest`` names, if that version is there."""
    try:
        version = (folder / "latest").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return version if _valid(version) and (folder / version).is_dir() else None


def _point(version: Path, scratch: Path) -> None:
    """Have ``latest`` name a version, written in staging first, where leftovers are removed."""
    pointer = scratch.parent / "latest"
    write_whole(pointer, version.name.encode())
    pointer.replace(version.parent / "latest")


def _read(path: Path) -> StoredModel:
    name, version = path.parent.name, path.name
    if not _valid(version):
        raise StoreError(f"{path} is no valid version. Remove it from the store.")
    if not (path / CARD_FILE).exists():
        if not path.exists():
            raise FileNotFoundError(path)
        raise UnknownModel(f"Model {name}:{version} in the store was not made by catseye. Choose another.")
    card = read_card(path / CARD_FILE)
    if card.name != name:
        raise StoreError(f"The card of model {name}:{version} is of {card.name!r}. Store the model again.")
    return StoredModel(name, version, path, card)


def _warn_once(path: Path, reason: str) -> None:
    key = (str(path), reason)
    if key not in _warned:
        _warned.add(key)
        logger.warning("Skipping model %s:%s. %s", path.parent.name, path.name, reason)


def _what_there_is(name: str) -> str:
    versions = [model.version for model in list_models(name)] if _valid(name) else []
    if versions:
        return f"Its versions are {_some(versions)}."
    names = sorted({model.name for model in list_models()})
    return f"The store holds {_some(names)}." if names else "The store is empty: train one with `catseye train`."


def _some(words: list[str]) -> str:
    return ", ".join(words[:8]) + (f" and {len(words) - 8} more" if len(words) > 8 else "")


def _hashes(folder: Path) -> dict[str, str]:
    hashes = {}
    for relative, path in files_below(folder):
        if path.is_symlink() or not path.is_file():
            raise StoreError(f"{relative} is not a regular file, so it cannot be stored. Copy what it points to.")
        if relative not in (CARD_FILE, BENTOML_FILE):
            hashes[relative] = sha256_of(path)
    return hashes

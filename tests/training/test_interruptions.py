"""Training that is killed, doubled or out of space: real processes, real signals, real write errors.

TensorFlow takes seconds to import, so one server process imports it and forks a fresh process for every run.
"""

import multiprocessing
import os
import resource
import secrets
import signal
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest

from models.export.head import read_head
from models.store import store
from tests.support.shapes import CIRCLE, SQUARE, shapes_folder
from training.fit.checkpoint import Checkpoint

pytestmark = pytest.mark.long

EPOCHS = 12
ARGUMENTS = ("--backbone", "cnn", "--weights", "none", "--size", "32", "--int8", "off", "--batch-size", "8")
LENGTH = ("--head-epochs", str(EPOCHS), "--epochs", str(EPOCHS), "--patience", str(EPOCHS))

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["training.pipeline", "training.cli"])


def _command(home: Path, arguments: tuple[str, ...], output: Connection, largest: int | None) -> None:
    """``catseye ARGUMENTS`` in this process, which writes to ``home`` and no file beyond ``largest`` bytes."""
    os.environ |= {"CATSEYE_HOME": str(home / "catseye"), "BENTOML_HOME": str(home / "bentoml"), "COLUMNS": "200"}
    os.dup2(output.fileno(), 1)
    os.dup2(output.fileno(), 2)
    if largest is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    from training.cli import app

    app(list(arguments), prog_name="catseye")


class Run:
    """A process that trains, and what it prints: through a pipe, since a file would be bounded too."""

    def __init__(self, home: Path, *arguments: str, largest: int | None = None) -> None:
        self._pipe, end = multiprocessing.Pipe(duplex=False)
        self.process = _processes.Process(target=_command, args=(home, arguments, end, largest))
        self.process.start()
        end.close()
        self._printed = bytearray()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while some := os.read(self._pipe.fileno(), 65536):
            self._printed += some

    def end(self, seconds: float | None = None) -> int:
        """The exit status; after so many seconds it is killed."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process.join()
        self._reader.join()
        return self.process.exitcode

    @property
    def printed(self) -> str:
        return self._printed.decode(errors="replace")


def train(home: Path, *arguments: str, largest: int | None = None) -> Run:
    run = Run(home, *arguments, largest=largest)
    run.end()
    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return shapes_folder(tmp_path_factory.mktemp("shapes") / "data", {CIRCLE: 16, SQUARE: 16})


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.setenv("CATSEYE_HOME", str(tmp_path / "catseye"))
    return tmp_path


def whole_models():
    """What the store holds; every file of it is what its card says."""
    found = store.list_models()
    for model in found:
        store.verify(model)
    assert all((path / "card.json").is_file() for path in (store.store_home() / "models").glob("*/*/"))
    return found


def epochs_done(home):
    """Run folder -> epochs that its checkpoint holds."""
    done = {}
    for folder in (home / "catseye" / "runs").glob("*/"):
        progress = Checkpoint(folder).load("top")
        if progress is not None:
            assert [row["epoch"] for row in progress.history] == list(range(1, progress.epoch + 1))
            done[folder] = progress.epoch
    return done


def test_killed_at_ten_random_moments_no_epoch_is_lost_but_the_current_one(home, data, capsys):
    seed = int(os.environ.get("CATSEYE_TEST_SEED") or secrets.randbelow(2**32))
    with capsys.disabled():
        print(f"\nkilling by CATSEYE_TEST_SEED={seed}")
    random = np.random.default_rng(seed)
    command = ("train", str(data), "--name", "shapes", *ARGUMENTS, *LENGTH)
    began = time.monotonic()
    first = train(home, *command)
    assert first.end() == 0, first.printed
    unkilled = time.monotonic() - began
    (reference,) = whole_models()
    before: dict[Path, int] = {}
    resume = False
    for _ in range(10):
        killed = Run(home, *command, *(["--resume"] if resume else []))
        assert killed.end(random.uniform(0, unkilled)) in (0, -signal.SIGKILL), killed.printed
        whole_models()
        now = epochs_done(home)
        for folder, epochs in before.items():
            assert (folder / "stored.json").exists() or now[folder] >= epochs
        before = {folder: epochs for folder, epochs in now.items() if not (folder / "stored.json").exists()}
        resume = any(
            not (path.parent / "stored.json").exists() for path in (home / "catseye" / "runs").glob("*/settings.json")
        )
    if resume:
        last = train(home, *command, "--resume")
        assert last.end() == 0, last.printed
    models = whole_models()
    assert len(models) >= 2
    for model in models:
        assert model.card.metrics.confusion == reference.card.metrics.confusion
        assert model.card.metrics.log_loss == pytest.approx(reference.card.metrics.log_loss, rel=1e-3)
        np.testing.assert_allclose(read_head(model.path)[0], read_head(reference.path)[0], atol=1e-3)


def test_two_runs_at_once_under_one_name_both_end_well(home, data):
    command = ("train", str(data), "--name", "shapes", *ARGUMENTS, "--head-epochs", "1", "--epochs", "1")
    runs = [Run(home, *command) for _ in range(2)]
    for run in runs:
        assert run.end() == 0, run.printed
    assert len(whole_models()) == 2
    assert len(list((home / "catseye" / "runs").glob("*/stored.json"))) == 2


@pytest.mark.parametrize("largest", [20, 30_000, 600_000])
def test_a_file_that_cannot_be_written_is_one_clear_error_and_the_run_goes_on_later(home, data, largest):
    """The kernel refuses to let files grow beyond a limit: the settings, a checkpoint, or the model's own."""
    command = ("train", str(data), "--name", "shapes", *ARGUMENTS, "--head-epochs", "1", "--epochs", "1")
    refused = train(home, *command, largest=largest)
    assert refused.end() == 2, refused.printed
    printed = refused.printed
    (error,) = (line for line in printed.splitlines() if "Error" in line)
    assert error.startswith("Error: ")
    assert "Free some space" in error or "free space" in error
    assert "Traceback" not in printed
    assert whole_models() == []
    resume = ["--resume"] if list((home / "catseye" / "runs").glob("*/settings.json")) else []
    again = train(home, *command, *resume)
    assert again.end() == 0, again.printed
    assert len(whole_models()) == 1


def test_a_run_that_goes_on_is_not_resumed_by_another(home, data):
    command = ("train", str(data), "--name", "shapes", *ARGUMENTS, "--head-epochs", "500", "--epochs", "500")
    first = Run(home, *command, "--patience", "500")
    try:
        while not epochs_done(home):
            assert first.process.exitcode is None, first.printed
            time.sleep(0.1)
        second = train(home, *command, "--resume")
        assert second.end() == 2
        assert "still going on" in second.printed
    finally:
        first.end(0)

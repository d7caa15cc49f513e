import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

import catseye
from tests.support.images import jpeg
from tests.support.networks import stored

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[3]
IMAGES, SHARD = 40, 4
BAD = {3, 17}
HELD = (20, 33)
"""Images that nobody delivers before the first run is killed: shards 5 and 8 are then in work, one a worker."""


def run(*arguments: object) -> int:
    """Run a command line in this process, which spares the imports, and give its exit code."""
    with pytest.raises(SystemExit) as ended:
        catseye.main(["classify", *map(str, arguments)])
    return int(ended.value.code or 0)


def workers_of(pid: int) -> list[psutil.Process]:
    """The processes of Ray below that one that classify."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # Ray's helpers come and go
            found += [process] if "MapWorker" in " ".join(process.cmdline()) else []
    return found


def wait(what: str, seen, seconds: float = 240) -> None:
    """Wait until something is seen; long, for Ray starts ten processes and the machine may be busy."""
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


@pytest.fixture
def files(monkeypatch, tmp_path):
    """Forty files, of which two are no images and two are pipes that nobody fills yet, and a store with one model."""
    monkeypatch.setenv("BENTOML_HOME", str(stored("cnn").path.parents[2]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.chdir(tmp_path)
    Path("사진").mkdir()
    named = [Path("사진", f"{number:02}.jpg") for number in range(IMAGES)]
    for number, path in enumerate(named):
        if number in HELD:
            os.mkfifo(path)
        else:
            path.write_bytes(b"no image" if number in BAD else jpeg(40, 40, seed=number))
    return named


def test_a_killed_run_goes_on_and_says_what_the_plain_run_says(files, tmp_path, capsys):
    out = tmp_path / "results"
    arguments = (*files, "--engine", "ray", "--workers", 2, "--shard", SHARD, "--top-k", 3, "-o", out)
    on_ray = [sys.executable, str(ROOT / "catseye.py"), "classify", *map(str, arguments)]

    killed = subprocess.Popen(on_ray, stderr=subprocess.PIPE)
    try:
        wait("a first table", lambda: killed.poll() is not None or any(out.glob("part-*")))
        assert killed.poll() is None, killed.stderr.read().decode()
        writers = workers_of(killed.pid)
        assert run(*arguments) == 2
        assert "Another process" in capsys.readouterr().err
    finally:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        killed.stderr.close()
    assert writers
    assert psutil.wait_procs(writers, timeout=120)[1] == []
    done = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.glob("part-*")}
    assert 1 <= len(done) <= IMAGES // SHARD - len(HELD)
    assert not (out / "errors.jsonl").exists()

    for number in HELD:
        files[number].unlink()
        files[number].write_bytes(jpeg(40, 40, seed=number))
    ended = subprocess.run(on_ray, capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert f"{len(done) * SHARD} of {IMAGES} files are done" in ended.stderr
    assert f"{len(BAD)} of {IMAGES} files could not be classified" in ended.stderr
    assert "Traceback" not in ended.stderr
    parts = sorted(out.glob("part-*"))
    assert [path.name for path in parts] == [f"part-{number:06}.jsonl" for number in range(IMAGES // SHARD)]
    for path, before in done.items():
        assert (path.stat().st_mtime_ns, path.read_bytes()) == before

    assert run(*files, "--top-k", 3) == 1
    expected = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = [json.loads(line) for path in parts for line in path.read_text("utf-8").splitlines()]
    assert [line["path"] for line in found] == list(map(str, files))
    assert {number for number, line in enumerate(found) if "error" in line} == BAD
    for one, other in zip(found, expected, strict=True):
        shares, others = (
            [prediction.pop("probability") for prediction in line.get("predictions", [])] for line in (one, other)
        )
        assert one == other
        assert shares == pytest.approx(others, abs=1e-6)
    listed = [json.loads(line) for line in (out / "errors.jsonl").read_text("utf-8").splitlines()]
    assert [error["path"] for error in listed] == [str(files[number]) for number in sorted(BAD)]
    assert [error["detail"] for error in listed] == [expected[number]["error"]["detail"] for number in sorted(BAD)]

    # Nothing is left, so Ray is not needed any more.
    assert run(*arguments) == 1
    assert f"{IMAGES} of {IMAGES} files are done; 0 are left" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--engine", "ray"), "--output"),
        (("--engine", "ray", "-o", "file"), "file"),
    ],
)
def test_mistakes_end_in_one_sentence(files, capsys, arguments, words):
    Path("file").touch()
    assert run(files[0], *arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("catseye: ")
    assert words in err


def test_without_ray_the_extra_is_named(files, tmp_path):
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "ray":
            raise ModuleNotFoundError("No module named 'ray'", name="ray")
sys.meta_path.insert(0, Absent())
import catseye
catseye.main(sys.argv[1:])
"""
    line = ("classify", str(files[0]), "--engine", "ray", "-o", str(tmp_path / "out"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run([sys.executable, "-c", code, *line], capture_output=True, text=True, env=environment)
    assert ended.returncode == 2
    assert "catseye[ray]" in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert not list((tmp_path / "out").glob("part-*"))

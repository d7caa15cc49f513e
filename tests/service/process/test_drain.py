import os
import resource
from pathlib import Path

import pytest

from service.process.drain import Drain


def test_unready_first_and_closed_later():
    drain = Drain()
    assert not drain.draining()
    drain.begin(3600)
    assert drain.draining()
    assert not drain.closed()
    drain.begin(0)
    assert drain.closed()


def test_every_worker_learns_it_from_the_file(tmp_path, monkeypatch):
    path = tmp_path / "drain"
    monkeypatch.setenv("CATSEYE_DRAIN_FILE", str(path))
    parent, worker = Drain(), Drain()
    parent.begin(0)
    assert worker.draining()
    assert worker.closed()


def test_a_half_written_or_missing_file_is_no_end(tmp_path):
    assert not Drain(tmp_path / "none").draining()
    (tmp_path / "odd").write_text("soon")
    assert not Drain(tmp_path / "odd").draining()


def test_who_cannot_tell_the_others_ends_all_the_same(tmp_path):
    drain = Drain(tmp_path / "gone" / "drain")
    drain.begin(0)
    assert drain.draining()
    assert drain.closed()


def test_a_file_that_cannot_be_opened_now_is_looked_at_again(tmp_path):
    told = tmp_path / "drain"
    drain = Drain(told)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open() as last:
        Drain(told).begin(0)
        resource.setrlimit(resource.RLIMIT_NOFILE, (last.fileno(), before[1]))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                told.read_text()
            assert not drain.closed()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
    drain._looked = 0
    assert drain.closed()

import asyncio
import os
import time

import pytest

from service.process.heartbeat import BEAT, VARIABLE, begin_beating


@pytest.fixture
def pipe(tmp_path, monkeypatch):
    path = tmp_path / "heartbeats"
    os.mkfifo(path)
    monkeypatch.setenv(VARIABLE, str(path))
    end = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    yield end
    os.close(end)


def beats(pipe):
    return [pid for (pid,) in BEAT.iter_unpack(os.read(pipe, 4096))]


def test_the_heart_beats_while_the_loop_turns_and_not_while_it_is_held(pipe):
    async def turn():
        begin_beating()
        assert beats(pipe) == [os.getpid()]
        time.sleep(1.2)  # holds the loop, as a run that never ends would
        with pytest.raises(BlockingIOError):
            beats(pipe)
        async with asyncio.timeout(30):
            while True:
                await asyncio.sleep(0.1)
                try:
                    return beats(pipe)
                except BlockingIOError:
                    continue

    assert set(asyncio.run(turn())) == {os.getpid()}


def test_nobody_needs_to_listen_but_who_did_and_is_gone_is_missed(tmp_path, monkeypatch):
    assert begin_beating()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    assert not begin_beating()
    os.mkfifo(tmp_path / "unread")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "unread"))
    assert not begin_beating()

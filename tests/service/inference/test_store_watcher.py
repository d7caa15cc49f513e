import logging
import threading

from models.errors import StoreError
from service.inference.store_watcher import StoreWatcher


def test_a_failure_is_logged_once_and_the_recovery_once(caplog):
    answers = iter([None, StoreError("Away."), StoreError("Away."), StoreError("Away."), None, None])

    def check():
        if (error := next(answers)) is not None:
            raise error

    watcher = StoreWatcher(check, 1)
    with caplog.at_level(logging.INFO, "catseye"):
        for _ in range(6):
            watcher.check()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "Away." in caplog.records[0].message
    assert caplog.records[0].exc_info is None


def test_an_unexpected_error_is_logged_with_its_traceback(caplog):
    errors = iter([StoreError("Away."), KeyError("x"), KeyError("x")])

    def check():
        raise next(errors)

    watcher = StoreWatcher(check, 1)
    for _ in range(3):
        watcher.check()
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]


def test_it_checks_again_and_again_until_it_is_stopped():
    seen = threading.Semaphore(0)
    watcher = StoreWatcher(seen.release, 0.01)
    watcher.start()
    assert all(seen.acquire(timeout=30) for _ in range(3))
    watcher.stop()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "catseye-store")
    thread.join(30)
    assert not thread.is_alive()

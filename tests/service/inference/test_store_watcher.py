import logging
import threading

from models.errors import StoreError
from service.inference.store_watcher import StoreWatcher


def test_trouble_is_one_line_and_its_end_another(caplog):
    answers = iter([None, StoreError("Away."), StoreError("Away."), StoreError("Away."), None, None])

    def look():
        if (error := next(answers)) is not None:
            raise error

    lookout = StoreWatcher(look, 1)
    with caplog.at_level(logging.INFO, "catseye"):
        for _ in range(6):
            lookout.look()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "Away." in caplog.records[0].message
    assert caplog.records[0].exc_info is None


def test_a_bug_shows_where_it_came_from_and_other_trouble_is_told(caplog):
    errors = iter([StoreError("Away."), KeyError("x"), KeyError("x")])

    def look():
        raise next(errors)

    lookout = StoreWatcher(look, 1)
    for _ in range(3):
        lookout.look()
    assert [bool(record.exc_info) for record in caplog.records] == [False, True]


def test_it_looks_again_and_again_until_it_is_told_to_end():
    seen = threading.Semaphore(0)
    lookout = StoreWatcher(seen.release, 0.01)
    lookout.begin()
    assert all(seen.acquire(timeout=30) for _ in range(3))
    lookout.end()
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "catseye-store")
    thread.join(30)
    assert not thread.is_alive()

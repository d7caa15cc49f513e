import numpy as np
import pytest

from models.errors import StoreError
from training.fit.checkpoint import Checkpoint, Progress


def progress(epoch=3):
    arrays = {"weights": [np.arange(12.0).reshape(3, 4), np.ones(2)], "optimizer": [np.array(5)], "best": []}
    return Progress("top", epoch=epoch, best=0.25, best_epoch=2, history=[{"loss": 0.5}], arrays=arrays)


def test_what_is_saved_is_loaded(tmp_path):
    Checkpoint(tmp_path).save(progress())
    found = Checkpoint(tmp_path).load("top")
    assert (found.epoch, found.best, found.best_epoch, found.history) == (3, 0.25, 2, [{"loss": 0.5}])
    np.testing.assert_array_equal(found.arrays["weights"][0], np.arange(12.0).reshape(3, 4))
    assert [len(found.arrays[name]) for name in ("weights", "optimizer", "best")] == [2, 1, 0]


def test_infinity_survives(tmp_path):
    Checkpoint(tmp_path).save(Progress("head"))
    assert Checkpoint(tmp_path).load("head").best == float("inf")


def test_nothing_and_a_torn_file_count_as_none(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.load("top") is None
    checkpoint.save(progress())
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    assert checkpoint.load("top") is None


def test_a_folder_that_is_gone_is_one_clear_error(tmp_path):
    (tmp_path / "run").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="--resume"):
        Checkpoint(tmp_path / "run").save(progress())


def test_where_another_worker_keeps_the_state_nothing_is_written(tmp_path):
    Checkpoint(tmp_path, kept=False).save(progress())
    assert not list(tmp_path.iterdir())

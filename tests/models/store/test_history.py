import math
from types import SimpleNamespace

import pytest

from models.errors import StoreError
from models.store.history import HISTORY_FILE, History, Phase, read_history

EPOCHS = [{"epoch": 1.0, "loss": 0.9, "val_loss": math.nan}, {"epoch": 2.0, "loss": 0.5, "val_loss": 0.6}]


def test_what_was_written_is_read_and_no_number_is_none(tmp_path):
    trained = SimpleNamespace(phase="head", best_epoch=2, history=EPOCHS, arrays={})
    history = History(phases=(Phase.model_validate(trained),))
    (tmp_path / HISTORY_FILE).write_text(history.model_dump_json())
    (phase,) = read_history(tmp_path).phases
    assert (phase.phase, phase.best_epoch) == ("head", 2)
    assert phase.history == ({**EPOCHS[0], "val_loss": None}, EPOCHS[1])


def test_a_model_without_one_has_no_phases(tmp_path):
    assert read_history(tmp_path) == History()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"phases": [{"phase": 1}]}', b'{"schema_version": 2}', b"\xff"]
)
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / HISTORY_FILE).write_bytes(content)
    with pytest.raises(StoreError, match=r"history\.json of model"):
        read_history(tmp_path)

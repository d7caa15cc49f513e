from tests.chaos.row import Row, surely


def test_a_fault_that_raises_is_a_row_that_was_missed(capsys):
    def fault():
        raise OSError("no such clock")

    row, *others = surely("clock", fault)
    assert not others
    assert not row.held
    assert row.fault == "clock"
    assert "OSError: no such clock" in row.verdict
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_gives_one_row_or_several():
    held = Row("clock", 3, 0, 1.0, True)
    assert surely("clock", lambda: held) == [held]
    assert surely("clock", lambda: [held, held]) == [held, held]

import re
from xml.etree import ElementTree

import pytest

from tests.chaos import clock, hostility, learning
from tests.chaos.row import NotRun, Row, not_run, show, surely
from tests.support import ROOT, programs

HELD = Row("clock", 3, 0, 1.0, True)
MISSED = Row("disk", 3, 1, None, False)


def test_a_fault_that_raises_is_a_row_that_was_missed(capsys):
    def fault():
        raise OSError("no such clock")

    row, *others = surely("clock", fault)
    assert not others
    assert row.outcome == "MISSED"
    assert row.fault == "clock"
    assert "OSError: no such clock" in row.verdict
    assert "Traceback" in capsys.readouterr().err


def test_a_fault_gives_one_row_or_several():
    assert surely("clock", lambda: HELD) == [HELD]
    assert surely("clock", lambda: [HELD, HELD]) == [HELD, HELD]


def test_what_could_not_run_is_neither_held_nor_missed(capsys):
    def fault():
        raise NotRun("libfaketime not found")

    (row,) = surely("clock", fault)
    assert not row.held
    assert row.verdict == "not run (libfaketime not found)"
    assert show([HELD, row], "faults") == 0
    assert "1 held, 0 missed, 1 not run" in capsys.readouterr().out
    assert show([HELD, MISSED, row], "faults") == 1


def test_without_libfaketime_the_clock_s_faults_are_not_run(monkeypatch, tmp_path):
    monkeypatch.setattr(programs, "find", lambda name: None)
    with pytest.raises(NotRun, match=r"libfaketime not found\. Install: apt-get install faketime"):
        clock.library()


def test_without_atheris_its_fault_is_not_run(monkeypatch):
    monkeypatch.setattr(hostility.importlib.util, "find_spec", lambda name: None)
    assert hostility.guided(1).outcome == "not run"


REPORT = """<testsuites><testsuite>
<testcase classname="tests.models.test_faults" name="test_full[1]"/>
<testcase classname="tests.models.test_faults" name="test_full[2]"><failure message="x"/></testcase>
<testcase classname="tests.models.test_faults" name="test_real"><skipped message="unshare not found"/></testcase>
</testsuite></testsuites>"""


def test_skipped_tests_of_a_fault_are_not_run():
    cases = list(ElementTree.fromstring(REPORT).iter("testcase"))
    assert learning.row("disk", "models/test_faults.py::test_real", cases) == not_run("disk", "unshare not found")
    assert learning.row("disk", "models/test_faults.py::test_full", cases) == Row("disk", 2, 1, None, False)
    assert learning.row("disk", "models/test_faults.py::test_gone", cases).outcome == "MISSED"


@pytest.mark.parametrize("place", learning.TESTS.values())
def test_the_tests_of_training_and_of_the_store_are_there(place):
    file, _, name = place.partition("::")
    assert re.search(rf"^def {name}", (ROOT / "tests" / file).read_text(), re.M)

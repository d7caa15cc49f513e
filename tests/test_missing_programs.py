"""A test that needs a missing program is skipped by name at the end of the run, or fails where CI asks for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, programs

TEST = "tests/deploy/test_kubernetes.py::test_selectors_meet_the_pods"


def test_a_missing_program_is_named_once_with_the_line_that_installs_it(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": str(tmp_path), "CATSEYE_TESTS_NEED": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", TEST]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    *_, line, counts = ended.stdout.splitlines()
    assert line.startswith("4 tests skipped: kubectl not found. Install: curl ")
    assert counts.startswith("4 skipped")


@pytest.mark.parametrize(
    ("needed", "outcome"),
    [("", pytest.skip), ("other", pytest.skip), ("all", pytest.fail), ("other,nothing", pytest.fail)],
)
def test_where_ci_asks_for_it_the_test_fails(monkeypatch: pytest.MonkeyPatch, needed: str, outcome: object) -> None:
    monkeypatch.setitem(programs.PROGRAMS, "nothing", programs.Program(lambda: None, "apt-get install nothing"))
    monkeypatch.setenv("CATSEYE_TESTS_NEED", needed)
    with pytest.raises(outcome.Exception, match=r"nothing not found\. Install: apt-get install nothing"):
        programs.need("nothing")


def test_what_no_package_brings_is_asked_for_by_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = programs.Program(lambda: None, "a change of the kernel's settings", everywhere=False)
    monkeypatch.setitem(programs.PROGRAMS, "of the kernel", kernel)
    monkeypatch.setenv("CATSEYE_TESTS_NEED", "all")
    with pytest.raises(pytest.skip.Exception):
        programs.need("of the kernel")

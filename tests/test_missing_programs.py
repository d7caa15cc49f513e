"""A test that needs a missing program is skipped by name at the end of the run, or fails where CI asks for it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

COUNT = 4
TESTS = "tests/deploy/test_kubernetes.py::test_selectors_meet_the_pods"
LINE = f"{COUNT} tests skipped: kubectl not found. Install: curl "


def run_without_programs(folder: Path, needed: str) -> subprocess.CompletedProcess[str]:
    """Run the tests as on a machine without any program on its PATH."""
    environment = os.environ | {"PATH": str(folder), "CATSEYE_TESTS_NEED": needed}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:cov", TESTS]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


def test_a_missing_program_is_named_once_with_the_line_that_installs_it(tmp_path: Path) -> None:
    ended = run_without_programs(tmp_path, "")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert [line for line in ended.stdout.splitlines() if line.startswith(LINE)] == ended.stdout.splitlines()[-2:-1]


def test_where_ci_needs_it_the_tests_fail(tmp_path: Path) -> None:
    for needed in ("all", "haproxy,kubectl"):
        ended = run_without_programs(tmp_path, needed)
        assert ended.returncode == 1
        assert "kubectl not found. Install: " in ended.stdout
    assert run_without_programs(tmp_path, "haproxy").returncode == 0

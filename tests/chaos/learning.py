"""Training is broken: the tests that do it, each a row of the table."""

import os
import re
import subprocess
import sys

from tests.chaos.row import Row
from tests.support import ROOT

TESTS = {
    "training killed at random moments": "training/test_interruptions.py::test_killed_at_ten",
    "two runs at once under one name": "training/test_interruptions.py::test_two_runs_at_once",
    "disk full while training": "training/test_interruptions.py::test_a_file_that_cannot_be_written",
    "a run that goes on, resumed by another": "training/test_interruptions.py::test_a_run_that_goes_on",
    "workers of a distributed run killed": "training/test_distribution.py::test_two_killed_workers",
    "unreadable files in a data set": "training/test_train.py::test_many_unreadable",
    "images replaced while they are trained on": "training/test_batches.py::test_a_file_that_went_away",
    "data set changed since the run was stopped": "training/test_runs.py::test_changed_images",
    "power cut between any two writes of the store": "models/test_store_faults.py::test_a_power_cut",
    "killed at random while storing": "models/test_store_faults.py::test_killed_at_random",
    "processes storing at once": "models/test_store_faults.py::test_processes_saving",
    "a real full disk": "models/test_store_faults.py::test_a_real_full",
}
"""Fault -> file and beginning of the name of its tests."""


def faults() -> list[Row]:
    """Run them, two files side by side."""
    files = sorted({f"tests/{place.partition('::')[0]}" for place in TESTS.values()})
    names = " or ".join(place.partition("::")[2] for place in TESTS.values())
    command = [sys.executable, "-m", "pytest", "-q", "-rA", "-m", "long or not long", "-k", names]
    command += ["--numprocesses", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", *files]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=3600)
    return [_row(fault, place, done.stdout) for fault, place in TESTS.items()]


def _row(fault: str, place: str, output: str) -> Row:
    found = re.findall(rf"^(PASSED|FAILED|ERROR) tests/{re.escape(place)}\S*", output, re.MULTILINE)
    failed = sum(outcome != "PASSED" for outcome in found)
    return Row(fault, len(found), failed, None, bool(found) and not failed, "" if found else "the test did not run")

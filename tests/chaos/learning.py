"""Training and the store are broken: the tests that do it, each a row of the table."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from tests.chaos.row import Row, not_run
from tests.support import ROOT

TESTS = {
    "training killed at random moments": "training/test_interruptions.py::test_killed_at_ten",
    "two runs at once under one name": "training/test_interruptions.py::test_two_runs_at_once",
    "disk full while training": "training/test_interruptions.py::test_a_file_that_cannot_be_written",
    "a run that goes on, resumed by another": "training/test_interruptions.py::test_a_run_that_goes_on",
    "workers of a distributed run killed": "training/fit/test_distributed.py::test_two_killed_workers",
    "unreadable files in a data set": "training/test_pipeline.py::test_many_unreadable",
    "images replaced while they are trained on": "training/data/test_loader.py::test_a_file_that_went_away",
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
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "long or not long", "-k", names, f"--junitxml={report}"]
        command += ["--numprocesses", "2", "--dist", "loadgroup", "-p", "no:cacheprovider", *files]
        subprocess.run(command, cwd=ROOT, env=os.environ, stdout=sys.stderr, timeout=3600)
        cases = list(ElementTree.parse(report).iter("testcase"))
    return [row(fault, place, cases) for fault, place in TESTS.items()]


def row(fault: str, place: str, cases: list[ElementTree.Element]) -> Row:
    """The row of a fault whose tests are among these cases of a JUnit report."""
    file, _, name = place.partition("::")
    module = f"tests.{file.removesuffix('.py').replace('/', '.')}"
    found = [each for each in cases if each.get("classname") == module and each.get("name", "").startswith(name)]
    skipped = [each.find("skipped") for each in found if each.find("skipped") is not None]
    if skipped and len(skipped) == len(found):
        return not_run(fault, (skipped[0].get("message") or "") if skipped[0] is not None else "")
    failed = sum(each.find("failure") is not None or each.find("error") is not None for each in found)
    return Row(fault, len(found), failed, None, bool(found) and not failed, "" if found else "there is no such test")

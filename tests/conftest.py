"""A store of the session's own, before any test module is imported, and what is said of programs that are missing."""

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support import state
from tests.support.programs import need

assert state.HOME


LONG_SECONDS = 900
"""When a long test has certainly hung; the others have 300 s (pyproject.toml)."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give long tests more time."""
    for item in items:
        if any(item.get_closest_marker(kind) for kind in ("long", "sweep", "docker")):
            item.add_marker(pytest.mark.timeout(LONG_SECONDS), append=False)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the programs that ``@pytest.mark.needs(...)`` names."""
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            need(name)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Last of all, how many tests were skipped for which program, and how it is installed."""
    yield
    reasons = (str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", []))
    found = Counter(
        match[1] for reason in reasons if (match := re.search(r"Skipped: (.+ not found\. Install: .+)", reason))
    )
    for reason, count in sorted(found.items()):
        terminalreporter.write_line(f"{count} {'test' if count == 1 else 'tests'} skipped: {reason}", yellow=True)

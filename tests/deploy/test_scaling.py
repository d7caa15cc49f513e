"""The table of docs/how-to/capacity.md is what its own rates give."""

import re
from math import ceil

from tests.support import ROOT

TEXT = (ROOT / "docs" / "how-to" / "capacity.md").read_text()
RATES = (1, 100, 10_000)
SHARE = 0.6
"""How much of a core is planned for."""


def row(title: str) -> list[str]:
    """The cells beside a title."""
    line = next(line for line in TEXT.splitlines() if line.startswith(f"| {title}"))
    return [cell.strip() for cell in line.strip("|").split("|")[1:]]


def numbers(title: str) -> list[float]:
    """The cells of the three columns as numbers, without their units."""
    return [float(re.sub(r"[^0-9.]", "", cell)) for cell in row(title)[1:]]


def test_cores_follow_from_what_a_core_does() -> None:
    titles = re.findall(r"^\| (cores, .*?) \|", TEXT, re.MULTILINE)
    assert len(titles) == 4
    for title in titles:
        does = int(row(f"{title} |")[0])
        assert numbers(f"{title} |") == [ceil(rate / (does * SHARE)) for rate in RATES], title


def test_what_a_core_does_follows_from_what_was_measured() -> None:
    for options, title in (
        ("--network int8 ", "cores, MobileNetV2 int8 |"),
        ("--network float32", "cores, MobileNetV2 float32"),
        ("--network int8 --backbone resnet50", "cores, ResNet50 int8"),
    ):
        found = re.search(rf"{options} +# ([0-9.]+) and ([0-9.]+) ms", TEXT)
        assert found, options
        assert int(row(title)[0]) == round(1000 / max(map(float, found.groups())))


def test_replicas_memory_network_and_cost_follow() -> None:
    replicas = [ceil(cores / 2) for cores in numbers("cores, MobileNetV2 float32")]
    assert numbers("replicas of two cores") == replicas
    assert numbers("memory of these") == replicas
    assert numbers("cost a month") == [round(each * 2 * 0.04 * 730) for each in replicas]
    assert numbers("network in") == [float(f"{rate * 0.073 * 8:.{1 if rate == 1 else 0}f}") for rate in RATES]

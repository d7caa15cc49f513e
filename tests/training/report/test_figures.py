import pytest

from training.report.figures import figures_table, show_whole
from training.report.progress import console


def test_a_row_is_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 40)
    table = figures_table()
    for number in range(30):
        table.add_column(f"column {number}")
    table.add_row(*(f"cell {number}" for number in range(30)))
    show_whole(table, "A title that is longer than the screen is wide, [b]")
    told = capsys.readouterr().out.splitlines()
    (row,) = (line for line in told if "cell" in line)
    assert row.split("cell")[-1].strip() == "29"
    assert " ".join(line.strip() for line in told[:2]) == "A title that is longer than the screen is wide, [b]"

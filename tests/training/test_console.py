import pytest
from rich.progress import Progress

from models.card import Metrics
from training.console import (
    RateColumn,
    confusion_table,
    console,
    images_bar,
    metrics_line,
    plain_table,
    print_metrics,
    print_table,
)

METRICS = Metrics(
    images=656,
    accuracy=0.87,
    accuracy_low=0.842,
    accuracy_high=0.893,
    balanced_accuracy=0.85,
    macro_f1=0.851,
    log_loss=0.3,
    calibration_error=0.02,
    confusion=((170, 35), (50, 401)),
)


def test_accuracy_never_without_its_interval():
    assert metrics_line(METRICS).startswith("Test accuracy 87.0% (95 % interval 84.2% to 89.3%, 656 images)")


def test_rows_are_true_labels():
    table = confusion_table(METRICS, ("defective", "functional"))
    assert list(table.columns[0].cells) == ["defective", "functional"]
    assert list(table.columns[2].cells) == ["35", "401"]


def test_labels_are_shown_whole_however_narrow_the_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 40)
    labels = ("monocrystalline, functional, of 2019", "[b]")
    print_metrics(METRICS, labels)
    told = capsys.readouterr().out
    assert f" {labels[0]} " in told
    assert len([line for line in told.splitlines() if "[b]" in line]) == 2
    assert "Confusion matrix: rows are true labels" in told


def test_a_row_is_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_width", 40)
    table = plain_table()
    for number in range(30):
        table.add_column(f"column {number}")
    table.add_row(*(f"cell {number}" for number in range(30)))
    print_table(table, "A title that is longer than the screen is wide, [b]")
    told = capsys.readouterr().out.splitlines()
    (row,) = (line for line in told if "cell" in line)
    assert row.split("cell")[-1].strip() == "29"
    assert " ".join(line.strip() for line in told[:2]) == "A title that is longer than the screen is wide, [b]"


def test_the_bar_counts_images(capsys: pytest.CaptureFixture[str]) -> None:
    with images_bar("Training", 10) as advance:
        advance(4, "loss 0.500")
        advance(6, "")
    printed = capsys.readouterr().out
    assert "10/10" in printed
    assert "loss 0.500" in printed


def test_no_rate_before_the_first_image() -> None:
    progress = Progress()
    progress.add_task("t")
    assert RateColumn().render(progress.tasks[0]).plain == ""

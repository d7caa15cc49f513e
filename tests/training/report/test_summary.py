import pytest

from models.card import Metrics
from training.report.progress import console
from training.report.summary import confusion_table, sentence, show

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
    assert sentence(METRICS).startswith("Test accuracy 87.0% (95 % interval 84.2% to 89.3%, 656 images)")


def test_rows_are_true_labels():
    table = confusion_table(METRICS, ("defective", "functional"))
    assert list(table.columns[0].cells) == ["defective", "functional"]
    assert list(table.columns[2].cells) == ["35", "401"]


def test_labels_are_shown_whole_however_narrow_the_screen(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_width", 40)
    labels = ("monocrystalline, functional, of 2019", "[b]")
    show(METRICS, labels)
    told = capsys.readouterr().out
    assert f" {labels[0]} " in told
    assert len([line for line in told.splitlines() if "[b]" in line]) == 2
    assert "Confusion: true label down" in told

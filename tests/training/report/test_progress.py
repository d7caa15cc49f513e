from rich.progress import Progress

from training.report.progress import RateColumn, images_bar


def test_the_bar_counts_images(capsys):
    with images_bar("Training", 10) as advance:
        advance(4, "loss 0.500")
        advance(6, "")
    printed = capsys.readouterr().out
    assert "10/10" in printed
    assert "loss 0.500" in printed


def test_no_rate_before_the_first_image():
    progress = Progress()
    progress.add_task("t")
    assert RateColumn().render(progress.tasks[0]).plain == ""

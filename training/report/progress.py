"""Progress bars with images a second and time left, and the console that training prints to."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

console = Console()


class RateColumn(ProgressColumn):
    """Images a second, over the bar's recent past."""

    def render(self, task: Task) -> Text:
        """The rate of one bar; empty until there is one."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} images/s" if speed else "", style="cyan")


@contextmanager
def images_bar(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar over ``total`` images; the function it gives is told of images done, and words to show beside."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TextColumn("{task.fields[words]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(title, total=total, words="")

        def advance(images: int, words: str = "") -> None:
            progress.advance(task, images)
            if words:
                progress.update(task, words=words)

        yield advance

"""``catseye evaluate``: the metrics of a stored classifier on other labelled images."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from models.errors import BadData
from models.runtime.open import open_runtime
from models.store.store import StoredModel
from training.console import console
from training.data.dataset import Dataset, Fractions, labels_of, read_dataset
from training.evaluate.metrics import evaluate, logits_of
from training.publish.publish import report_on
from training.report.report import Report


def measure(model: StoredModel, data: Path, out: Path | None = None, *, allow_unreadable: bool = False) -> Report:
    """Print the metrics on all images of ``data``, with a note where they trained the model; report to ``out``.

    A data set with a test part of its own is measured on that part. Raises BadData where a label is unknown to
    the model.
    """
    nothing_held_out = Fractions(validation=0, test=0)
    dataset = aligned(
        read_dataset(data, fractions=nothing_held_out, allow_unreadable=allow_unreadable), model.card.labels
    )
    samples = dataset.test or dataset.samples
    with closing(open_runtime(model, hint="throughput")) as runtime:
        logits = logits_of(runtime, samples, model.card)
    metrics = evaluate(logits, labels_of(samples), dataset.labels, model.card.temperature)
    if model.card.data is not None and model.card.data.sha256 == dataset.fingerprint.sha256:
        console.print("Note: most of these images trained the model, so these metrics are optimistic; see its card.")
    card = model.card.model_copy(update={"metrics": metrics})
    report = Report(card=card, dataset=dataset, samples=samples, logits=logits)
    report_on(model, report, out)
    return report


def aligned(dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
    """The data set with the model's labels and their indices; BadData for a label that the model does not have."""
    unknown = sorted(set(dataset.labels) - set(labels))
    if unknown:
        raise BadData(
            f"The model has no label {unknown[0]!r}; it has {', '.join(labels)}. Rename or remove that class."
        )
    index = [labels.index(label) for label in dataset.labels]
    samples = tuple(replace(sample, label=index[sample.label], target=None) for sample in dataset.samples)
    return replace(dataset, labels=labels, samples=samples)

"""``catseye evaluate``: the figures of a stored classifier, made anew on other labelled images."""

from dataclasses import replace
from pathlib import Path

from models.errors import BadData
from models.runtime.open import open_runtime
from models.store.store import StoredModel
from training.data.dataset import Dataset, Fractions, labels_of, read_dataset
from training.evaluate.metrics import evaluate
from training.publish.choose_precision import logits_of
from training.report.console import console, print_metrics
from training.report.overlays import activation_maps
from training.report.report import Report, write_report


def measure(model: StoredModel, data: Path, out: Path | None = None, *, allow_unreadable: bool = False) -> Report:
    """Print the figures on all images of ``data``, noting where they trained the model; report to ``out``.

    A data set with a test part of its own is measured on that part. Raises BadData where a label is unknown to
    the model.
    """
    nothing_held_out = Fractions(validation=0, test=0)
    found = read_dataset(data, fractions=nothing_held_out, allow_unreadable=allow_unreadable)
    dataset = aligned(found, model.card.labels)
    samples = dataset.test or dataset.samples
    runtime = open_runtime(model, hint="throughput")
    try:
        logits = logits_of(runtime, samples, model.card)
        metrics = evaluate(logits, labels_of(samples), model.card.labels, model.card.temperature)
        if model.card.data is not None and model.card.data.sha256 == dataset.fingerprint.sha256:
            console.print("Note: most of these images trained the model, so this flatters it; see its card.")
        print_metrics(metrics, model.card.labels)
        report = Report(
            card=model.card.model_copy(update={"metrics": metrics}),
            dataset=dataset,
            samples=samples,
            logits=logits,
            activation=activation_maps(runtime, model.card, *model.head(runtime.precision)),
        )
        if out is not None:
            console.print(f"Report: {write_report(out, report)}", highlight=False)
    finally:
        runtime.close()
    return report


def aligned(dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
    """The data set with the model's labels and their indices."""
    unknown = sorted(set(dataset.labels) - set(labels))
    if unknown:
        raise BadData(
            f"The model knows no label {unknown[0]!r}; it knows {', '.join(labels)}. Rename or remove that class."
        )
    index = [labels.index(label) for label in dataset.labels]
    samples = tuple(replace(sample, label=index[sample.label], target=None) for sample in dataset.samples)
    return replace(dataset, labels=labels, samples=samples)

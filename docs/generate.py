"""Write the reference pages that follow from the code: ``python -m docs.generate`` (``make docs`` does it too).

Settings, commands, metrics, error codes and the model card are read from the objects that define them. A page that
differs from the code, and anything without a description, fails ``tests/docs/test_reference.py``.
"""

import ast
import importlib
import inspect
import types
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
import yaml
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

import catseye
import models.card
import service.metrics
from models.errors import CatseyeError
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
ALERTS = ROOT / "deploy" / "prometheus" / "rules" / "alerts.yml"
GENERATED = "<!-- Written by docs/generate.py. Change the code or that script, then run `make docs`. -->\n"

OTHER_VARIABLES = {
    "BENTOML_HOME": "Folder of the model store; `~/bentoml` by default.",
    "CATSEYE_CACHE_GB": "Training: gigabytes that the cache of features may take, 10 by default; the least recently "
    "used are removed.",
    "CATSEYE_WEIGHTS_URL": "Training: mirror of `https://storage.googleapis.com` from which ImageNet weights are "
    "downloaded. It must have the same paths.",
    "TF_CONFIG": "Training: the cluster ([several devices](../how-to/several-devices.md)).",
    "TF_ENABLE_ONEDNN_OPTS": "Training and the TensorFlow runtime: catseye sets it to 1 unless it is set.",
    "RAY_ADDRESS": "`catseye classify --engine ray`: the cluster to run on.",
    "CATSEYE_PORT": "Docker compose: port of the service, 3000 by default.",
    "CATSEYE_BIND": "Docker compose: address on which the service is published, `127.0.0.1` by default.",
    "CATSEYE_DATA": "Docker compose: folder of images for `trainer`, `./data` by default.",
    "CATSEYE_TAG": "Docker compose: tag of both images, `latest` by default.",
    "BENTOML_CONFIG_OPTIONS": "BentoML's own settings, for example for [traces](../how-to/operate.md#traces).",
    "GRAFANA_ADMIN_PASSWORD": "Docker compose: password of Grafana's administrator, who is disabled by default.",
    "GRAFANA_DISABLE_ADMIN": "Docker compose: `false` enables Grafana's administrator.",
}
"""Variables that are no settings of the service."""

REMEDIES = {
    "bad_image": "Send a JPEG, PNG, WebP, GIF, BMP or TIFF file that an image viewer opens.",
    "unauthorized": "Send one of the keys in `X-API-Key` or `Authorization: Bearer`.",
    "unknown_model": "Choose one of the models that the answer or `GET /v1/models` lists.",
    "unknown_layer": "Choose one of the `taps` in `GET /v1/models/NAME`.",
    "too_large": "Send a smaller file, or raise `CATSEYE_MAX_BODY_MB`.",
    "too_many_pixels": "Send a smaller image, or raise `CATSEYE_MAX_MEGAPIXELS` or `CATSEYE_MAX_FRAMES`.",
    "unsupported_media": "Send the image as the raw body, or as multipart field `image`.",
    "bad_parameter": "Correct the parameter that `detail` names.",
    "bad_data": "Command line: correct the folder or table that the message names.",
    "weights_unavailable": "Command line: choose other weights ([own weights](../how-to/own-weights.md)).",
    "store_error": "Check the store's permissions and free space; store a damaged model again.",
    "overloaded": "Send the request again after `Retry-After` seconds; add replicas if it persists.",
    "draining": "Send the request again: the load balancer has other replicas.",
    "timed_out": "Send fewer images per request, or raise `CATSEYE_TIMEOUT`.",
    "slow_body": "Send a smaller file or over a faster connection, or raise `CATSEYE_TIMEOUT`.",
    "internal": "Search the server's log for the request id, and report it.",
    "not_found": "Choose a route that `/docs` lists.",
    "method_not_allowed": "Use the method that `detail` and the header `Allow` name.",
    "bad_request": "Correct the request: it is not valid HTTP or not valid multipart.",
}
"""What to do about each error code."""

SERVICE_CODES = {
    "bad_request": (400, "The request cannot be parsed."),
    "not_found": (404, "There is no such route."),
    "method_not_allowed": (405, "The route does not accept the method."),
}
"""Codes of errors that the HTTP framework raises, not the code of catseye."""

CARD_FIELDS = {
    "Tap.index": "Number of the tap, counted from the input.",
    "Pool.tap": "Index of the tap.",
    "Pool.start": "First column.",
    "Pool.stop": "Column after the last.",
    "Head.pools": "The taps that the head averages.",
    "Head.embedding_size": "Length of the feature vector.",
    "WeightsProvenance.source": "Kind of source.",
    "WeightsProvenance.sha256": "Of the weight file.",
    "DataFingerprint.name": "Name of the folder or table.",
    "DataFingerprint.images": "Images that could be read.",
    "DataFingerprint.classes": "Images per label.",
    "DataFingerprint.skipped": "Files that could not be read.",
    "Split.method": "How the split was made.",
    "Split.seed": "Seed of the split.",
    "Split.train": "Training images.",
    "Split.validation": "Validation images.",
    "Split.test": "Test images.",
    "Metrics.images": "Images measured.",
    "Metrics.accuracy": "Share of correct predictions.",
    "Metrics.accuracy_low": "Lower bound of the accuracy's 95 % interval.",
    "Metrics.balanced_accuracy": "Mean recall over the classes.",
    "Metrics.macro_f1": "Mean F1 over the classes.",
    "Metrics.log_loss": "Mean negative log-likelihood of the true label.",
    "Reference.confidence_edges": "Edges of the bins.",
    "Distillation.temperature": "Temperature of the softened probabilities.",
    "Distillation.gain_low": "Lower bound of the gain's 95 % interval.",
    "Export.precision": "Precision of the file.",
    "Export.note": "Why this precision is served, or is not.",
    "Card.schema_version": "Version of this schema. A service refuses cards of a newer one.",
    "Card.name": "Name of the model.",
    "Card.labels": "The classes, in the order of the network's outputs.",
    "Card.backbone": "Network: a name that `catseye backbones` lists.",
    "Card.input_size": "Height and width in pixels.",
    "Card.taps": "Layers whose feature maps can be read.",
    "Card.head": "How logits are computed from feature maps.",
    "Card.weights": "Where the initial weights came from.",
    "Card.data": "The images of the training run.",
    "Card.split": "How they were divided.",
    "Card.metrics": "Figures on held-out images, in the precision that is served.",
    "Card.temperature": "Divides the logits before the softmax, so that probabilities are calibrated.",
    "Card.reference": "Distribution of predictions on held-out images, for drift.",
    "Card.exports": "Files that a runtime can load.",
    "Card.settings": "Settings of the training run.",
    "Card.distillation": "Present for a distilled student.",
    "Card.served_precision": "Precision that the service uses by default.",
    "Card.parameters": "Number of parameters.",
    "Card.versions": "Versions of Python packages.",
    "Card.created": "Time of storing, in UTC.",
}
"""Fields that have no docstring in ``models.card``."""


def settings_page() -> str:
    """Every setting of the service, and the variables that are none."""
    rows = [
        (f"`{PREFIX}{name.upper()}`", _default(field.default), _bounds(field.metadata), _line(field.description or ""))
        for name, field in Settings.model_fields.items()
    ]
    return _page(
        "Settings",
        "Settings are environment variables. The service reads them once, at its start; a wrong value stops the start "
        "with a message that names the variable. To change a setting, restart the service.",
        _table(("variable", "default", "range", "meaning"), rows),
        "## Other variables",
        _table(("variable", "meaning"), [(f"`{name}`", text) for name, text in OTHER_VARIABLES.items()]),
    )


def commands_page() -> str:
    """Every command of ``catseye`` with its arguments and options."""
    parts = [_command(path, command) for path, command in _commands()]
    intro = (
        "`catseye --help` lists the commands and `catseye COMMAND --help` shows the options of one. A user's mistake "
        "prints one sentence on standard error and ends with exit code 2."
    )
    return _page("Commands", intro, *parts)


def metrics_page() -> str:
    """Every metric of the service, and every alert."""
    rows = []
    for metric in _metrics():
        family = _family(metric)
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        rows.append((f"`{name}`", family.type, labels, _line(family.documentation)))
    alerts = [
        (f"[{rule['alert']}](../how-to/alerts.md#{rule['alert'].lower()})", rule["labels"]["severity"], _alert(rule))
        for group in yaml.safe_load(ALERTS.read_text())["groups"]
        for rule in group["rules"]
    ]
    return _page(
        "Metrics and alerts",
        "`GET /metrics` answers in the Prometheus text format, summed over all workers. Labels never take a value from "
        "a request: `route` is a template, `model` a served model, and unknown paths are one route `unknown`. "
        "Histograms have the usual `_bucket`, `_sum` and `_count` series.",
        _table(("metric", "type", "labels", "meaning"), rows),
        "## Alerts\n\nThe rules are in `deploy/prometheus/rules`. Severity `page` needs a reaction now, `ticket` "
        "within days.",
        _table(("alert", "severity", "summary"), alerts),
    )


def errors_page() -> str:
    """Every error code."""
    known = {kind.code: (kind.status, _first(kind)) for kind in _subclasses(CatseyeError)}
    known |= {"internal": (500, "An unexpected error in the service.")} | SERVICE_CODES
    rows = [
        (str(status), f"`{code}`", meaning, REMEDIES.get(code, ""))
        for code, (status, meaning) in sorted(known.items(), key=lambda item: (item[1][0], item[0]))
    ]
    return _page(
        "Error codes",
        "Errors are `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with the members "
        "`type`, `title`, `status`, `code`, `detail` and `request_id`. `code` is stable; `detail` says what was wrong "
        'and what to do. Below `/v2` errors are `{"error": "..."}`, and 422 becomes 400, as the Open Inference '
        "Protocol requires. The command line prints the same sentences.",
        _table(("status", "code", "meaning", "what to do"), rows),
        "A client that closes its connection before the answer is counted and logged with status 499. "
        "[HTTP](http.md#errors) shows an error in full.",
    )


def card_page() -> str:
    """Every field of the model card."""
    parts = [_card_part(kind) for kind in _card_classes(models.card.Card)]
    return _page(
        "Model card",
        "Each stored model has a file `card.json`. `GET /v1/models/NAME` returns it in `card`. A service reads cards "
        f"of its own schema version ({models.card.CARD_SCHEMA}) and older.",
        *parts,
    )


PAGE_WRITERS = {
    "settings.md": settings_page,
    "commands.md": commands_page,
    "metrics.md": metrics_page,
    "errors.md": errors_page,
    "model-card.md": card_page,
}


def write_all() -> None:
    """Write every page whose text has changed."""
    for name, writer in PAGE_WRITERS.items():
        path, text = PAGES / name, writer()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def undocumented() -> list[str]:
    """What a user may set or meet that has no description."""
    missing = [f"setting {name}" for name, field in Settings.model_fields.items() if not field.description]
    missing += [f"metric {_family(metric).name}" for metric in _metrics() if not _family(metric).documentation]
    missing += [f"error {kind.code}" for kind in _subclasses(CatseyeError) if kind.code not in REMEDIES]
    missing += [f"card field {line}" for kind in _card_classes(models.card.Card) for line in _without_text(kind)]
    for path, command in _commands():
        missing += [f"{path}: help"] * (not command.help)
        missing += [f"{path}: {p.name}" for p in command.params if p.name != "help" and not getattr(p, "help", None)]
    return missing


def _commands() -> Iterator[tuple[str, Any]]:
    """Every command with its path, those of a group after it. (Typer brings its own copy of click, so no type.)"""
    for name, command in catseye.COMMANDS.items():
        app: Any = typer.main.get_command(importlib.import_module(command.module).app)
        yield from _with_children(f"catseye {name}", app.commands[name])


def _with_children(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, child in getattr(command, "commands", {}).items():
        yield from _with_children(f"{path} {name}", child)


def _page(title: str, *parts: str) -> str:
    return GENERATED + "\n".join(f"\n{part}" for part in (f"# {title}", *parts)) + "\n"


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [" | ".join(headings), " | ".join("---" for _ in headings)]
    lines += [" | ".join(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _line(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _first(kind: type) -> str:
    return _line((inspect.getdoc(kind) or "").partition("\n\n")[0])


def _default(value: object) -> str:
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _bounds(metadata: list[Any]) -> str:
    found = {name: getattr(part, name) for part in metadata for name in ("ge", "gt", "le") if hasattr(part, name)}
    least = f"{found['ge']:,}" if "ge" in found else f"above {found['gt']:,}" if "gt" in found else ""
    most = f"{found['le']:,}" if "le" in found else ""
    return f"{least} to {most}" if least and most else f"{least} or more" if "ge" in found else least


def _command(path: str, command: Any) -> str:
    children = getattr(command, "commands", None)
    arguments = [] if children else [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help" and not p.hidden]
    # Typer reads the signature too, which holds the options that are made from ``TrainSettings``.
    signature = inspect.signature(inspect.unwrap(command.callback)) if command.callback else inspect.Signature()
    types = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    rows = [(f"`{_usage(a)}`", "", _line(a.help or "")) for a in arguments]
    rows += [(_names(o, types.get(o.name)), _option_default(o), _line(o.help or "")) for o in options]
    usage = [path, *(["COMMAND"] if children else []), *(["[OPTIONS]"] if options else []), *map(_usage, arguments)]
    parts = [f"## {path}", _line(command.help or ""), f"```text\n{' '.join(usage)}\n```"]
    return "\n\n".join(parts + ([_table(("argument or option", "default", "meaning"), rows)] if rows else []))


def _usage(argument: Any) -> str:
    name = (argument.metavar or argument.name or "").upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _names(option: Any, annotation: Any) -> str:
    names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
    return names if option.is_flag else f"{names} {_value(annotation)}"


def _value(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        return _value(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return " ".join(f"`{choice}`" for choice in get_args(annotation))
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if inner:
        return _value(inner[0])
    return {"str": "TEXT", "int": "INTEGER", "float": "NUMBER", "Path": "PATH"}.get(annotation.__name__, "VALUE")


def _option_default(option: Any) -> str:
    if option.required:
        return "required"
    return (
        ""
        if option.default is None or option.default is False or callable(option.default)
        else _default(option.default)
    )


def _metrics() -> list[MetricWrapperBase]:
    return [value for value in vars(service.metrics).values() if isinstance(value, MetricWrapperBase)]


def _family(metric: MetricWrapperBase) -> Metric:
    return next(iter(metric.describe()))


def _alert(rule: dict[str, Any]) -> str:
    text = str(rule["annotations"]["summary"])
    for word in ("instance", "model", "route", "kind"):
        text = text.replace(f"{{{{ $labels.{word} }}}}", word.upper())
    start = text.find("{{")
    return _line(text if start < 0 else text[:start] + "N" + text[text.rfind("}}") + 2 :])


def _subclasses(kind: type[CatseyeError]) -> Iterator[type[CatseyeError]]:
    for child in kind.__subclasses__():
        if child.__module__ == "models.errors":
            yield child
            yield from _subclasses(child)


def _card_classes(kind: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and those that its fields hold, each once, the outermost first."""
    found = [kind]
    for field in kind.model_fields.values():
        for part in _models_in(field.annotation):
            found += [each for each in _card_classes(part) if each not in found]
    return found


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _docstrings(kind: type[BaseModel]) -> dict[str, str]:
    """The strings below the fields of a class."""
    tree = ast.parse(dedent(inspect.getsource(kind)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return {
        field.target.id: _line(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _field_text(kind: type[BaseModel], name: str) -> str:
    return _docstrings(kind).get(name) or CARD_FIELDS.get(f"{kind.__name__}.{name}", "")


def _without_text(kind: type[BaseModel]) -> list[str]:
    return [f"{kind.__name__}.{name}" for name in kind.model_fields if not _field_text(kind, name)]


def _card_part(kind: type[BaseModel]) -> str:
    rows = [
        (f"`{name}`", _type(field.annotation), "yes" if field.is_required() else "", _field_text(kind, name))
        for name, field in kind.model_fields.items()
    ]
    return f"## {kind.__name__}\n\n{_first(kind)}\n\n" + _table(("field", "type", "required", "meaning"), rows)


def _type(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, types.UnionType):
        return ", ".join("null" if part is type(None) else _type(part) for part in arguments)
    if origin is tuple:
        inside = [part for part in arguments if part is not Ellipsis]
        if Ellipsis in arguments:
            return f"list of {_type(inside[0])}"
        return f"{len(inside)} {_type(inside[0])}s"
    if origin is dict:
        return f"map of {_type(arguments[0])} to {_type(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    names = {"str": "string", "int": "integer", "float": "number", "AwareDatetime": "time", "object": "any"}
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name)


if __name__ == "__main__":
    write_all()

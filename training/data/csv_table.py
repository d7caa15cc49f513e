"""A CSV of images: the columns ``path`` and ``label``, and optionally weight, split, stratum, target:LABEL."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize

from models.errors import BadData
from training.data.layouts import SPLIT_NAMES, Candidate, Layout, SplitName, normal, quoted

_TARGET = "target:"


def table_layout(table: Path, *, stratify: str | None = None) -> Layout:
    """The images that a CSV lists; paths are relative to its folder.

    ``stratify`` names the column to stratify by besides the label, by default ``stratum``. Soft targets are in one
    column ``target:LABEL`` for each label and sum to 1 in each row.
    """
    rows = _rows(table)
    columns = {normal(name).strip() for name in rows[0]} if rows else set[str]()
    _need_columns(table, columns, ("path", "label"))
    stratum_column = stratify or ("stratum" if "stratum" in columns else None)
    if stratum_column is not None:
        _need_columns(table, columns, (stratum_column,))
    labels = tuple(sorted({_label(table, line, row) for line, row in enumerate(rows, 2)}))
    if len(labels) == 1:
        raise BadData(f"The table {table} has only one label, '{labels[0]}'. A classifier needs at least two.")
    targets = _target_columns(table, columns, labels)
    candidates = tuple(
        Candidate(
            path=_resolve(table.parent, row["path"]),
            label=row["label"],
            weight=_weight(table, line, row),
            split=_split(table, line, row),
            stratum=row.get(stratum_column, "") if stratum_column else "",
            target=_target(table, line, row, targets),
        )
        for line, row in enumerate(rows, 2)
    )
    return _with_split(
        Layout(
            candidates=candidates,
            labels=labels,
            described="listed in a table",
            stratified_by=stratum_column or "",
        )
    )


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        text = table.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"The table {table} is not in UTF-8. Save it as CSV UTF-8.") from error
    except OSError as error:
        raise BadData(f"The table {table} cannot be read: {error.strerror}. Check its path and rights.") from error
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator)
    names = [normal(name).strip() for name in reader.fieldnames or ()]
    lowered = [name if name.startswith(_TARGET) else name.lower() for name in names]
    _need_columns(table, set(lowered), ("path", "label"))
    reader.fieldnames = lowered
    rows = [
        {
            key: normal(value or "").strip() if key != "path" else (value or "").strip()
            for key, value in row.items()
            if key
        }
        for row in reader
    ]
    rows = [row for row in rows if any(row.values())]
    if not rows:
        raise BadData(f"The table {table} lists no image. Add a row with a path and a label for each.")
    return rows


def _need_columns(table: Path, found: set[str], wanted: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in found]
    if missing:
        raise BadData(
            f"The table {table} has no column {quoted(missing)}; it has {quoted(sorted(found), 12)}. "
            "Name the columns path and label, and optionally weight, split and stratum."
        )


def _label(table: Path, line: int, row: Mapping[str, str]) -> str:
    if not row["label"] or not row["path"]:
        raise BadData(f"Row {line} of {table} has no path or no label. Fill it in, or remove the row.")
    return row["label"]


def _weight(table: Path, line: int, row: Mapping[str, str]) -> float:
    text = row.get("weight", "")
    if not text:
        return 1.0
    weight = _number(text)
    if weight is None or weight <= 0:
        raise BadData(f"Row {line} of {table} has the weight '{text}'. Give a number above 0, or remove the row.")
    return weight


def _split(table: Path, line: int, row: Mapping[str, str]) -> SplitName | None:
    text = row.get("split", "").lower()
    if text and text not in SPLIT_NAMES:
        raise BadData(f"Row {line} of {table} has the split '{text}'. Use train, validation or test.")
    return SPLIT_NAMES.get(text)


def _target_columns(table: Path, columns: set[str], labels: Sequence[str]) -> tuple[str, ...]:
    if not any(name.startswith(_TARGET) for name in columns):
        return ()
    wanted = tuple(_TARGET + label for label in labels)
    _need_columns(table, columns, wanted)
    return wanted


def _target(table: Path, line: int, row: Mapping[str, str], columns: Sequence[str]) -> tuple[float, ...] | None:
    texts = [row[name] for name in columns]
    if not any(texts):
        return None
    numbers = [_number(text) for text in texts]
    known = [n for n in numbers if n is not None and 0 <= n <= 1]
    total = math.fsum(known)
    if len(known) != len(texts) or abs(total - 1) > 1e-3:
        raise BadData(f"Row {line} of {table} has the targets {', '.join(texts)}. Give probabilities that sum to 1.")
    return tuple(n / total for n in known)


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _resolve(folder: Path, text: str) -> Path:
    """The file that a row names, in any Unicode normalization and with either kind of slash."""
    for spelling in (text, text.replace("\\", "/")):
        try:
            path = _walk(folder, Path(spelling))
        except (OSError, ValueError):
            continue
        if path is not None:
            return path
    return folder / text


def _walk(folder: Path, wanted: Path) -> Path | None:
    """``wanted`` below ``folder``; each part of the path may be stored in another Unicode normalization."""
    if (folder / wanted).is_file():
        return folder / wanted
    here = folder
    for part in wanted.parts:
        forms = (here / part, here / normalize("NFC", part), here / normalize("NFD", part))
        found = next((form for form in forms if form.exists()), None)
        if found is None:
            return None
        here = found
    return here if here.is_file() else None


def _with_split(layout: Layout) -> Layout:
    """Where some rows have a split, rows without one are for training."""
    if not layout.given:
        return layout
    candidates = tuple(c if c.split else replace(c, split="train") for c in layout.candidates)
    trained = {c.label for c in candidates if c.split == "train"}
    unknown = sorted(set(layout.labels) - trained)
    if unknown:
        raise BadData(f"Labels without any training row: {quoted(unknown)}. Add rows of them with the split train.")
    return replace(layout, candidates=candidates, described="given by the column split")

"""The configuration in a Keras file, read as data and checked for code. Nothing of the file is run."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from models.errors import BadData

_MAX_BYTES = 64 << 20
_BROKEN = (OSError, KeyError, ValueError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile)


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of the model in a ``.keras`` or legacy ``.h5`` file; ``BadData`` where there is none."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive, archive.open("config.json") as member:
                text: str | bytes = member.read(_MAX_BYTES)
        else:
            import h5py  # comes with TensorFlow, which serving does without

            with h5py.File(path, "r") as file:
                text = file.attrs["model_config"]
        found: dict[str, Any] = json.loads(text)
        found["config"].items()
        return found
    except _BROKEN as error:
        raise BadData(
            f"{path.name} holds no Keras model with its layers. Save the whole model as .keras or .h5, not its weights."
        ) from error


def refuse_code(config: object, path: Path) -> None:
    """Raise ``BadData`` if a configuration, or a part of one, names anything but Keras's own classes.

    Refused are Lambda layers, classes of other modules and registered custom classes, at any depth.
    """
    for part in _objects(config):
        kind, module = str(part["class_name"]), str(part.get("module") or "keras")
        custom = part.get("registered_name") not in (None, kind)
        if "lambda" in kind.lower() or custom or module.partition(".")[0] not in ("keras", "builtins"):
            raise BadData(
                f"{path} has a layer of kind {kind!r}, which holds code (module {module}). "
                "Code in a file is never run; rebuild the model from Keras's own layers."
            )


def _objects(config: object) -> Iterator[Mapping[str, Any]]:
    """Every serialised object in a configuration."""
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "class_name" in part:
                yield part
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)

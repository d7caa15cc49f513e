"""Feature maps of image files as files, without a server: one for each image, going on after bad ones."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from models.errors import BadParameter, CatseyeError
from models.files import output_errors
from models.image.decode import thumbnail
from models.store.store import StoredModel
from service.inference.served_model import Served
from service.offline import classify
from service.rendering.feature_maps import MapFormat, check_size, find_taps, parse_channels, render
from service.settings import Settings

PICTURE_SIDE = 320
KINDS: dict[str, MapFormat] = {"png": "png", "npz": "npz", "json": "json"}


class Maps:
    """What is wanted of each image: a model's layers, their channels, and the kind of file."""

    def __init__(
        self, stored: StoredModel, settings: Settings, layers: Sequence[str], channels: str | None, kind: MapFormat
    ) -> None:
        self._taps, self._channels = find_taps(stored.card, layers), parse_channels(channels)
        check_size(self._taps, self._channels, kind)
        self._settings, self._stored, self.kind = settings, stored, kind
        self._served: Served | None = None

    def of(self, path: Path) -> bytes:
        """The file for one image; ``CatseyeError`` where it cannot be read or is none."""
        data = classify.read(path, self._settings)
        if self._served is None:  # not before there is an image to run it on
            self._served = classify.load(self._stored, self._settings)
        served, names = self._served, [f"tap_{tap.index}" for tap in self._taps]
        outputs = classify.run(served, data, self._settings, ("logits", *names))
        found = classify.predictions(served, outputs, 5)
        head = {
            "model": served.name,
            "version": served.version,
            "variant": served.variant,
            "predictions": [{"label": label, "probability": share} for label, share in found],
        }
        maps = [(tap, outputs[name]) for tap, name in zip(self._taps, names, strict=True)]
        picture = thumbnail(data, PICTURE_SIDE, self._settings.limits) if self.kind == "png" else None
        return render(head, maps, self._channels, self.kind, picture)


def kind_of(format: str | None, output: Path | None, *, alone: bool) -> MapFormat:
    """The kind of file that is named, else as the name of the one file ends, else a picture."""
    ending = output.suffix.lstrip(".").lower() if output else ""
    if not alone and ending in KINDS:
        raise BadParameter(f"--output is the one file {output}, but there may be several images. Name a folder.")
    named = format or (ending if alone and output else "png")
    if named not in KINDS:
        raise BadParameter(f"The format {named!r} is not known. Use png, npz or json.")
    return KINDS[named]


def write_all(maps: Maps, files: Sequence[Path], folder: Path) -> Iterator[tuple[Path, CatseyeError | None]]:
    """Write a file below the folder for each image, placed as the images are; gives each image, and what was wrong."""
    for path, place in zip(files, _places(files), strict=True):
        try:
            data = maps.of(path)
        except CatseyeError as error:
            yield path, error
        else:
            target = folder / f"{place}.{maps.kind}"
            write(target, data)
            yield path, None


def write(path: Path, data: bytes) -> None:
    """Write a file, and the folders above it; ``BadParameter`` where it cannot be."""
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def _places(files: Iterable[Path]) -> list[Path]:
    """The files' paths below the folder that holds them all."""
    whole = [file.absolute() for file in files]
    root = os.path.commonpath([file.parent for file in whole])
    return [file.relative_to(root) for file in whole]

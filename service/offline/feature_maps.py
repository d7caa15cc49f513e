"""Feature maps of image files without a server: one file for each image, going on after bad images."""

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from models.errors import BadParameter, CatseyeError
from models.files import output_errors
from models.image.decode import thumbnail
from models.store.store import StoredModel
from service.inference.served_model import ServedModel
from service.offline import classify
from service.rendering.feature_maps import MapFormat, check_size, find_taps, parse_channels, render
from service.settings import Settings

PICTURE_SIDE = 320
KINDS: dict[str, MapFormat] = {"png": "png", "npz": "npz", "json": "json"}


class Maps:
    """The feature maps of a model's layers and channels, as files of one kind."""

    def __init__(
        self, stored: StoredModel, settings: Settings, layers: Sequence[str], channels: str | None, kind: MapFormat
    ) -> None:
        self._taps, self._channels = find_taps(stored.card, layers), parse_channels(channels)
        check_size(self._taps, self._channels, kind)
        self._settings, self._stored, self.kind = settings, stored, kind

    @cached_property
    def _served(self) -> ServedModel:
        return classify.load(self._stored, self._settings)

    def of(self, path: Path) -> bytes:
        """The file for one image; ``CatseyeError`` where the image cannot be read."""
        data = classify.read(path, self._settings)
        names = [f"tap_{tap.index}" for tap in self._taps]
        outputs = classify.run(self._served, data, self._settings, ("logits", *names))
        head = {**self._served.identity, "predictions": classify.predictions(self._served, outputs, 5)}
        maps = [(tap, outputs[name]) for tap, name in zip(self._taps, names, strict=True)]
        picture = thumbnail(data, PICTURE_SIDE, self._settings.limits) if self.kind == "png" else None
        return render(head, maps, self._channels, self.kind, picture)


def kind_of(format: MapFormat | None, output: Path | None, *, alone: bool) -> MapFormat:
    """The kind of file: the one that is named, else by the suffix of the one output file, else a picture."""
    suffix = output.suffix.lstrip(".").lower() if output else ""
    if not alone and suffix in KINDS:
        raise BadParameter(f"--output is the one file {output}, but there may be several images. Name a folder.")
    if format is not None or not (alone and output):
        return format or "png"
    if suffix not in KINDS:
        raise BadParameter(f"The format {suffix!r} is not known. Use png, npz or json.")
    return KINDS[suffix]


def write_all(maps: Maps, files: Sequence[Path], folder: Path) -> Iterator[tuple[Path, CatseyeError | None]]:
    """Write a file for each image, with the same subfolders; gives each image, and its error if it is a bad one."""
    whole = [file.absolute() for file in files]
    root = os.path.commonpath([file.parent for file in whole])
    for path, place in zip(files, whole, strict=True):
        try:
            data = maps.of(path)
        except CatseyeError as error:
            yield path, error
        else:
            write(folder / f"{place.relative_to(root)}.{maps.kind}", data)
            yield path, None


def write(path: Path, data: bytes) -> None:
    """Write a file and the folders above it; ``BadParameter`` where it cannot be written."""
    with output_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

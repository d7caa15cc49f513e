"""Files of weights as Keras has written them through the years, and a web server that hands them out."""

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Literal

import h5py
import keras
import numpy as np

from models.network.backbones import Backbone
from models.network.classifier import Classifier

Manner = Literal["whole", "truncated", "silently truncated", "missing"]


def keras_module(row: Backbone) -> ModuleType:
    """The module of ``keras.applications`` that a network comes from, with its ``preprocess_input``."""
    return importlib.import_module(getattr(keras.applications, row.title).__module__)


def randomise(model: keras.Model, seed: int = 0) -> keras.Model:
    """Weights unlike any fresh ones, statistics included; variances stay positive."""
    random = np.random.default_rng(seed)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            continue
        values = [
            random.uniform(0.5, 1.5, value.shape) * np.where(value == 0, 0.1, value) for value in layer.get_weights()
        ]
        layer.set_weights(values)
    return model


def same_weights(classifier: Classifier, base: keras.Model) -> bool:
    """Whether the backbone holds the very arrays of a Keras model of that network."""
    ours = [layer for layer in classifier.backbone_layers() if layer.weights]
    theirs = [layer for layer in base.layers if layer.weights][: len(ours)]
    return all(
        np.array_equal(one, other)
        for mine, yours in zip(ours, theirs, strict=True)
        for one, other in zip(mine.get_weights(), yours.get_weights(), strict=True)
    )


def save_like_imagenet(model: keras.Model, path: Path) -> Path:
    """The form of Keras's published files: legacy HDF5 of weights alone, layers at the root."""
    whole = path.with_name("whole.h5")
    model.save(whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:
        group = source["model_weights"]
        for name in group:
            group.copy(name, target)
        for key, value in group.attrs.items():
            target.attrs[key] = value
    whole.unlink()
    return path


@dataclass
class Site:
    """What the server has, how it behaves, and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    manner: Manner = "whole"
    requests: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def web_site() -> Iterator[Site]:
    """A web server on a free port of this machine."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            site.requests.append(self.path)
            data = site.files.get(self.path.lstrip("/"))
            if data is None or site.manner == "missing":
                self.send_error(404)
                return
            self.send_response(200)
            if site.manner != "silently truncated":
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data if site.manner == "whole" else data[: len(data) // 2])

        def log_message(self, format: str, *args: object) -> None:
            """Keep the tests' output clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

"""Who takes part: one row each, with the settings that the sweep tries."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from benchmarks.serving.servers import ROOT

Network = Literal["keras", "float32", "int8"]
Decode = Literal["scaled", "plain"]
Settings = dict[str, int]
OURS = "catseye"


@dataclass(frozen=True, eq=False)
class Contestant:
    """A server with a network, and how to start it."""

    name: str
    network: Network
    command: Callable[[str, int], Sequence[str]]
    """From the peers' Python and a port."""
    path: str
    ready: str
    tries: tuple[Settings, ...] = ({},)
    field: str | None = None
    """The multipart field that takes the image; ``None`` where the raw body does."""
    decode: Decode = "scaled"

    @property
    def ours(self) -> bool:
        """Whether it is this service."""
        return self.name.startswith(OURS)

    @property
    def title(self) -> str:
        """As tables name it."""
        return f"{self.name} {self.network}" + (" (plain decode)" if self.decode == "plain" else "")

    def environment(self, settings: Settings, model: Path, home: Path, port: int) -> dict[str, str]:
        """Environment variables: of a peer by its settings, of this service by its own."""
        if self.ours:
            own = {
                "CATSEYE_HOME": str(home / "catseye"),
                "CATSEYE_CACHE_MB": "0",
                "CATSEYE_TUNE_SECONDS": "0",  # catseye tune has measured, with the time that a sweep may take
                "CATSEYE_RUNTIME": "tensorflow" if self.network == "keras" else "openvino",
                "PYTHONPATH": str(ROOT),
            }
            return own if self.network == "keras" else own | {"CATSEYE_PRECISION": self.network}
        return {
            "PYTHONPATH": str(ROOT),
            "PEER_MODEL": str(model),
            "PEER_NETWORK": self.network,
            "PEER_DECODE": self.decode,
            "PEER_PORT": str(port),
            "BENTOML_HOME": str(home / "peers"),
            "BENTOML_DO_NOT_TRACK": "True",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CI": "true",  # OpenVINO reports to its maker elsewhere
            **{f"PEER_{name.upper()}": str(value) for name, value in settings.items()},
        }


def _module(name: str) -> Callable[[str, int], Sequence[str]]:
    return lambda python, port: [python, "-m", f"benchmarks.serving.peers.{name}"]


def _mosec(python: str, port: int) -> Sequence[str]:
    options = ["--address", "127.0.0.1", "--port", str(port), "--timeout", "60000", "--log-level", "warning"]
    return [python, "-m", "benchmarks.serving.peers.mosec_server", *options, "--capacity", "4096"]


def _bentoml(python: str, port: int) -> Sequence[str]:
    target = "benchmarks.serving.peers.bentoml_server:Peer"
    return [python, "-m", "bentoml", "serve", target, "--host", "127.0.0.1", "--port", str(port)]


def _catseye(python: str, port: int) -> Sequence[str]:
    return [sys.executable, "-m", "catseye", "serve", "--host", "127.0.0.1", "--port", str(port)]


def contestants() -> list[Contestant]:
    """This service with each network, then every peer with Keras and with int8."""
    found = [Contestant(OURS, network, _catseye, "/v1/classify", "/readyz") for network in ("int8", "float32", "keras")]
    for network in ("keras", "int8"):
        found += [
            Contestant(
                "FastAPI",
                network,
                _module("fastapi_server"),
                "/classify",
                "/ready",
                (
                    {"workers": 1, "threads": 2},
                    {"workers": 1, "threads": 4},
                    {"workers": 2, "threads": 1},
                    {"workers": 2, "threads": 2},
                ),
            ),
            Contestant(
                "LitServe",
                network,
                _module("litserve_server"),
                "/predict",
                "/health",
                (
                    {"workers": 1, "batch": 8},
                    {"workers": 2, "batch": 1},
                    {"workers": 2, "batch": 8},
                ),
                field="image",
            ),
            Contestant(
                "mosec",
                network,
                _mosec,
                "/inference",
                "/",
                (
                    {"workers": 1, "threads": 2, "batch": 8},
                    {"workers": 2, "threads": 1, "batch": 1},
                    {"workers": 2, "threads": 1, "batch": 8},
                    {"workers": 1, "threads": 1, "batch": 8},
                ),
            ),
            Contestant(
                "BentoML upload",
                network,
                _bentoml,
                "/classify",
                "/readyz",
                (
                    {"workers": 1, "threads": 4, "batch": 1},
                    {"workers": 2, "threads": 2, "batch": 1},
                    {"workers": 1, "threads": 2, "batch": 8},
                    {"workers": 2, "threads": 1, "batch": 8},
                ),
                field="image",
            ),
        ]
    return found


def field_of(contestant: Contestant, settings: Settings) -> str | None:
    """The multipart field: BentoML names that of a batch after its argument."""
    batched = contestant.name == "BentoML upload" and settings.get("batch", 1) > 1
    return "images" if batched else contestant.field


def with_plain_decode(contestant: Contestant) -> Contestant:
    """The same peer with the three lines that everybody writes instead of this project's decode."""
    return replace(contestant, decode="plain")

"""The process above the workers: circus (kantoku), which starts BentoML's workers, and another one where one ends.

``bentoml serve`` does the same, but imports all of BentoML first, to learn how many workers to start: two seconds in
which no worker is on its way. And it has circus look for workers that ended every ten seconds, and take orders from
any user of the machine, on two ports of 127.0.0.1. This looks once a second, and takes orders from nobody
(docs/decisions/0028).
"""

import argparse
import ipaddress
import logging
import socket
import sys
from pathlib import Path
from typing import Any, Final

from circus.arbiter import Arbiter
from circus.sockets import CircusSocket
from circus.watcher import Watcher

_WORKER: Final = "service.process.worker"
_SOCKET: Final = "http"
_BACKLOG: Final = 2048
_LOOK_SECONDS: Final = 1.0
_A_DAY: Final = 86_400
"""Workers end by themselves, in a time that they are given; nobody is killed before."""


def supervise(target: str, host: str, port: int, workers: int, options: list[str]) -> None:
    """Listen on an address and keep so many workers on it, until a signal ends it.

    ``target`` is BentoML's service as ``module:name``, to be found from the working directory; ``options`` go to
    BentoML's worker as they are. Raises ``OSError`` where nobody can listen there.
    """
    family = socket_family(host)
    listener: Any = CircusSocket(name=_SOCKET, host=host, port=port, family=family, backlog=_BACKLOG)
    watcher: Any = Watcher(
        name="service",
        cmd=sys.executable,
        args=worker_arguments(target, options),
        numprocesses=workers,
        working_dir=str(Path.cwd()),
        copy_env=True,
        stop_children=True,
        use_sockets=True,
        graceful_timeout=_A_DAY,
    )
    # Within this process, since who may speak to circus may have it run anything.
    arbiter: Any = Arbiter(
        [watcher],
        endpoint="inproc://orders",
        pubsub_endpoint="inproc://events",
        check_delay=_LOOK_SECONDS,
        sockets=[listener],
    )
    shown = f"[{host}]" if ":" in host else host
    logging.getLogger("catseye").info("catseye: listening on http://%s:%d (Ctrl-C ends it)", shown, port)
    arbiter.start()


def socket_family(host: str) -> int:
    """The family of an address; of a name, that of IPv4."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        version = 4
    return socket.AF_INET6 if version == 6 else socket.AF_INET


def worker_arguments(target: str, options: list[str]) -> list[str]:
    """What Python is given to be one of BentoML's workers; circus fills in the socket and the worker's number."""
    return [
        *("-m", _WORKER, target),
        *("--fd", f"$(circus.sockets.{_SOCKET})"),
        *("--worker-id", "$(CIRCUS.WID)"),
        *("--backlog", str(_BACKLOG)),
        *options,
    ]


def main() -> None:
    """What ``service.process.launcher`` starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    given, options = parser.parse_known_args()
    logging.basicConfig(format="%(message)s", stream=sys.stdout, force=True)
    logging.getLogger("catseye").setLevel(logging.INFO)
    supervise(given.target, given.host, given.port, given.workers, options)


if __name__ == "__main__":
    main()

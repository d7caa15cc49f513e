"""Graceful shutdown: unready first, so that load balancers turn away; then closed to new work; then not listening."""

import math
import socket
import struct
import time
from contextlib import suppress
from typing import Final

MESSAGE: Final = struct.Struct("=d")
"""What the supervisor sends its workers: in how many seconds to refuse new work."""
_REFUSING_SECONDS: Final = 0.2
"""How long new work is answered 503 before the socket stops listening."""
_ACCEPT_SECONDS: Final = 0.25
"""How long to wait, after that, for a moment in which no connection waits to be accepted."""
_UNACKED_OFFSET: Final = 24  # in tcp_info: eight fields of one byte, then rto, ato, snd_mss and rcv_mss of four


class Drain:
    """Whether this worker's server is shutting down, and since when new work is refused."""

    def __init__(self) -> None:
        self._closes = math.inf

    def draining(self) -> bool:
        """Whether ``/readyz`` is 503; work is still taken."""
        return self._closes < math.inf

    def closed(self) -> bool:
        """Whether new work is refused."""
        return time.monotonic() >= self._closes

    def begin(self, seconds: float) -> None:
        """Be unready from now on and closed in so many seconds."""
        self._closes = time.monotonic() + seconds


def quiet(listener: socket.socket, closed_seconds: float) -> bool:
    """Whether to stop listening, so many seconds after new work was first refused.

    No process would answer the connections that wait to be accepted, so a moment without any is waited for.
    """
    since = closed_seconds - _REFUSING_SECONDS
    return since >= _ACCEPT_SECONDS or (since >= 0 and not _waiting(listener))


def stop_listening(listener: socket.socket) -> None:
    """Let no more clients in, by any process that shares the socket; for when the whole server ends.

    While one copy of the socket is open, the kernel would let clients in whom no process answers.
    """
    with suppress(OSError):  # another worker has done it
        listener.shutdown(socket.SHUT_RD)


def _waiting(listener: socket.socket) -> int:
    """How many connections the kernel has made that no process has accepted; 0 where it does not tell.

    Linux gives it as ``tcpi_unacked`` of the socket that listens (``struct tcp_info`` in linux/tcp.h).
    """
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return 0
    info = listener.getsockopt(socket.IPPROTO_TCP, option, _UNACKED_OFFSET + 4)
    return int(struct.unpack_from("=I", info, _UNACKED_OFFSET)[0])

"""The sockets that this process listens on: clients that take their replies too slowly, and the end of listening.

Nothing in HTTP ends a connection whose client asks and then does not read: the reply stays in memory, the descriptor
stays open, and a server on its way out waits for it. The kernel can end it, and its option is inherited by every
connection that the listening socket accepts.
"""

import asyncio
import errno
import os
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

_UNACKED_OFFSET: Final = 24  # eight of one byte, then rto, ato, snd_mss and rcv_mss of four


def drop_unread(seconds: float) -> int:
    """End connections whose client has not taken a waiting reply for so long; gives how many sockets were set.

    Linux measures it from when the client's window closed (``TCP_USER_TIMEOUT``, tcp(7)). Elsewhere nothing is set.
    """
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        return 0
    done = 0
    for listening in _listening():
        listening.setsockopt(socket.IPPROTO_TCP, option, int(seconds * 1e3))
        done += 1
    return done


async def stop_listening(within: float = 0.25) -> None:
    """Let nobody in any more, by any process that shares the sockets; connections that stand are left alone.

    The supervisor keeps its copy open until the last worker has left. Until then the kernel would let clients in whom
    nobody answers, and cut them off at the end. Those whom it has let in already and nobody has greeted would be cut
    off now, so this waits, ``within`` seconds at most, for a moment in which there are none.
    """
    ends = time.monotonic() + within
    for listening in _listening():
        while _waiting(listening) and time.monotonic() < ends:
            await asyncio.sleep(0.001)
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RD)


def _waiting(listening: socket.socket) -> int:
    """How many connections the kernel has made that no process has accepted; 0 where it does not tell.

    Of a socket that listens, Linux gives it as ``tcpi_unacked`` (``struct tcp_info`` in linux/tcp.h; tcp_diag(7)
    shows the same number as Recv-Q).
    """
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return 0
    length = _UNACKED_OFFSET + 4
    return int(struct.unpack_from("=I", listening.getsockopt(socket.IPPROTO_TCP, option, length), _UNACKED_OFFSET)[0])


def _listening() -> Iterator[socket.socket]:
    """Copies of this process's TCP sockets that listen, each closed after use.

    Nothing else is copied and kept: whoever waits for the other end of a pipe to be closed would wait for ever.
    """
    for descriptor in _descriptors():
        with suppress(OSError), _copy(descriptor) as ours:
            tcp = ours.family in (socket.AF_INET, socket.AF_INET6) and ours.type == socket.SOCK_STREAM
            if tcp and ours.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                yield ours


def _copy(descriptor: int) -> socket.socket:
    """A copy of a socket; ``OSError`` where it is none."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        raise OSError(errno.ENOTSOCK, "not a socket")
    copied = os.dup(descriptor)
    try:
        return socket.socket(fileno=copied)
    except OSError:  # another thread has closed it, and opened something else under its number
        os.close(copied)
        raise


def _descriptors() -> list[int]:
    """What this process has open, where the system tells."""
    with suppress(OSError):
        return [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    return []

"""A worker's signs of life: its event loop writes its process id into the pipe of ``service.process.watchdog``."""

import asyncio
import errno
import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

VARIABLE: Final = "CATSEYE_HEARTBEATS"
BEAT: Final = struct.Struct("=i")
_SECONDS: Final = 0.5


class Heart:
    """Beats as long as the event loop turns."""

    def __init__(self, pipe: Path) -> None:
        self._pipe = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        self._beat = BEAT.pack(os.getpid())

    def beat(self) -> None:
        """Give a sign of life now and from now on; call it in the event loop."""
        with suppress(OSError):  # nobody reads for the moment, or any more
            os.write(self._pipe, self._beat)
        asyncio.get_running_loop().call_later(_SECONDS, self.beat)


def begin_beating() -> bool:
    """Give signs of life from now on, where ``catseye serve`` waits for them; False where it did and is gone."""
    if named := os.environ.get(VARIABLE):
        try:
            Heart(Path(named)).beat()
        except OSError as error:
            return error.errno not in (errno.ENXIO, errno.ENOENT)  # no reader, or no pipe any more
    return True

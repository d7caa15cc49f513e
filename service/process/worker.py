"""One worker: uvicorn around the BentoML service. ``python -m service.process.worker LISTENER CHANNEL``

Both arguments are descriptors that ``service.process.supervisor`` hands down.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Final

import uvicorn

from models.errors import BadParameter, CatseyeError
from service.asgi.drain import MESSAGE, Drain, quiet, stop_listening
from service.settings import Settings, get_settings

_HEARTBEAT_SECONDS: Final = 0.5
_KEEP_ALIVE_SECONDS: Final = 75
"""Longer than the minute that proxies keep idle connections, so that theirs is never closed under them."""
_LINGER_SECONDS: Final = 0.25
"""How long a worker that leaves still answers on open connections, closing each after its answer."""


class Server(uvicorn.Server):
    """uvicorn's server, which sends heartbeats to the supervisor and leaves when told to, or when that has died."""

    def __init__(
        self, config: uvicorn.Config, listener: socket.socket, channel: socket.socket, drain: Drain, *, freeze: bool
    ) -> None:
        """``freeze`` keeps what is loaded at the start out of every search for garbage (docs/decisions/0015)."""
        super().__init__(config)
        self._listener, self._channel, self._drain, self._freeze = listener, channel, drain, freeze
        channel.setblocking(False)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the models, then listen; the first heartbeat says that this worker is ready."""
        await super().startup(sockets)
        if self._freeze:
            gc.freeze()
        gc.enable()
        self._beat()
        asyncio.get_running_loop().add_reader(self._channel, self._hear)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and close each open one after its next answer, or when it stays idle.

        A connection that is closed while a request is on its way there would be reset.
        """
        for server in self.servers:
            server.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        await asyncio.sleep(_LINGER_SECONDS)
        await super().shutdown(sockets)

    def _beat(self) -> None:
        with suppress(OSError):  # the supervisor does not read for the moment, or has died
            self._channel.send(b".")
        asyncio.get_running_loop().call_later(_HEARTBEAT_SECONDS, self._beat)

    def _hear(self) -> None:
        try:
            came = self._channel.recv(MESSAGE.size)
        except BlockingIOError:
            return
        except OSError:
            came = b""
        if came:
            self._drain.begin(*MESSAGE.unpack(came))
        else:
            loop = asyncio.get_running_loop()
            loop.remove_reader(self._channel)
            self._drain.begin(0)
            self._end_alone(time.monotonic())

    def _end_alone(self, since: float) -> None:
        """End as the supervisor would have this server end."""
        if quiet(self._listener, time.monotonic() - since):
            stop_listening(self._listener)
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            asyncio.get_running_loop().call_later(0.01, self._end_alone, since)


def configuration(settings: Settings) -> uvicorn.Config:
    """Import and set up the application; the models are loaded in a thread meanwhile."""
    from service.inference.preload import preload

    if settings.runtime == "openvino":  # TensorFlow would be imported beside everything else
        preload()
    from service.asgi.protocol import limited
    from service.compatibility import is_configured, tls_options

    try:
        from service.app import asgi

        application = asgi()
    except Exception as error:
        if not is_configured():
            raise
        raise BadParameter(
            f"BentoML cannot use its configuration: {error}. Correct BENTOML_CONFIG and BENTOML_CONFIG_OPTIONS."
        ) from error
    return uvicorn.Config(
        application,
        http=limited(settings.timeout),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        reset_contextvars=True,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        # Running requests end by their own time limit; a second more and the worker leaves anyway.
        timeout_graceful_shutdown=int(settings.timeout) + 1,
        **tls_options(),
    )


def main() -> None:
    """Be a worker."""
    gc.disable()  # what is imported is kept, so that a search for garbage is in vain
    logging.basicConfig(format="%(asctime)s [%(levelname)s] %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.INFO)
    listener, channel = (socket.socket(fileno=int(word)) for word in sys.argv[1:3])
    try:
        settings = get_settings()
        config = configuration(settings)
    except CatseyeError as error:
        sys.stderr.write(f"catseye: {error.detail}\n")
        sys.exit(os.EX_CONFIG)
    from service.app import drain

    # A Keras network refers to itself: once it is replaced, only a search finds it.
    freeze = settings.runtime == "openvino"
    Server(config, listener, channel, drain, freeze=freeze).run(sockets=[listener.dup()])


if __name__ == "__main__":
    main()

"""One request and its reply, as the middleware sees them: what is read, what is sent, and how it ends."""

import asyncio
from contextlib import suppress
from typing import Final

import anyio
from starlette.types import Message, Receive, Scope, Send

from models.errors import CatseyeError, Draining, Overloaded, SlowBody, TimedOut, TooLarge
from service.asgi.access_log import AccessRecord
from service.asgi.body_budget import Body, BodyBudget
from service.asgi.context import begin_request
from service.asgi.problem import CLIENT_LEFT, problem_response

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; media-src 'self' blob:; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = (
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
)
"""On every reply: nothing from elsewhere, no inline script, no framing, no sniffing."""

_LINGER_BYTES: Final = 256_000_000
_LINGER_SECONDS: Final = 5.0
_WATCH_AFTER_SECONDS: Final = 0.1
"""A request that takes longer than this is cancelled when its client leaves; watching costs a task."""


class Exchange:
    """Limits and records one request; its ``receive`` and ``send`` are what the application gets.

    ``scope`` is the application's: HEAD is a GET there, and the reply's body is dropped.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, budget: BodyBudget, max_body: int) -> None:
        self._receive, self._send, self._budget, self._max_body = receive, send, budget, max_body
        self._is_head = scope["method"] == "HEAD"
        self.scope = {**scope, "method": "GET"} if self._is_head else scope
        # The first of each name, as ``Headers.get`` gives it; looked through once.
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(scope["headers"])}
        self.content_length = _length(self.headers.get("content-length", ""))
        self.state = begin_request(self.scope, self.headers)
        self.record = AccessRecord(self.scope, self.state, scope["method"])
        self.started = False
        """Whether the reply has begun."""
        self._finished = self._left = self._receiving = self._complete = self._abandoned = False
        self._limit: asyncio.Timeout | None = None
        self._body: Body | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None

    def admit(self, limit: asyncio.Timeout, deadline: float) -> None:
        """Let the application read the body, within ``limit``."""
        self._limit = limit
        self._body = Body(self._end, self.content_length, deadline)

    async def receive(self) -> Message:
        """The next part of the body, within the limits for this body and for all together."""
        self._receiving = not self._complete
        message = await self._receive()
        self._receiving = False
        more = len(message.get("body", b""))
        self.record.bytes_in += more
        if self.record.bytes_in > self._max_body:
            raise self.too_large("more bytes than that")
        self._complete = not message.get("more_body")
        if self._body is not None and message["type"] == "http.request":
            await self._hold(self._body, more)
            if self._complete and self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_SECONDS, self._watch)
        return message

    async def send(self, message: Message) -> None:
        """Pass on a part of the reply, with the headers that every reply has."""
        if message["type"] == "http.response.start":
            self.record.status = message["status"]
            self.started = True
            extra = [*SECURITY_HEADERS, (b"x-request-id", self.state["request_id"].encode())]
            if self.state["traceparent"]:
                extra.append((b"traceparent", self.state["traceparent"].encode()))
            if self._abandoned:
                extra.append((b"connection", b"close"))
            message["headers"] = [*message.get("headers", ()), *extra]
        elif message["type"] == "http.response.body":
            if self._is_head:
                message = {**message, "body": b""}
            self.record.bytes_out += len(message.get("body", b""))
            if not message.get("more_body"):
                self._finished = True
                if self._abandoned:
                    message = {**message, "more_body": True}  # ``close`` ends it
        await self._send(message)

    def ended_early(self) -> CatseyeError | None:
        """Why the application was stopped before it answered; ``None`` where the client has left."""
        if self._left:
            self.record.status = CLIENT_LEFT
            return None
        if self._body is not None and self._body.refusal is not None:
            return self._body.refusal
        if self._receiving:
            return SlowBody("The body did not arrive within the time limit. Send a smaller image, or send it faster.")
        return TimedOut("The answer was not ready within the time limit. Try again later, or send less at once.")

    async def refuse(self, error: CatseyeError) -> None:
        """Answer with an error."""
        # A draining server closes its connections, and a client that still sends would lose the reply to a reset.
        self._abandoned |= not self._complete and (self.record.bytes_in > 0 or isinstance(error, Draining))
        response = problem_response(error, self.state["request_id"], self.scope["path"])
        await response(self.scope, self.receive, self.send)

    def too_large(self, what: str) -> TooLarge:
        """The error for a body over the limit; ``what`` it has."""
        self._abandoned = True
        return TooLarge(
            f"The body has {what} and at most {self._max_body:,} bytes are read. "
            "Send a smaller or more compressed image, or fewer at once."
        )

    def release(self) -> None:
        """The application has ended: hold nothing of the body, and watch the client no more."""
        if self._body is not None:
            self._budget.release(self._body)
        if self._timer is not None:
            self._timer.cancel()
        if self._watcher is not None:
            self._watcher.cancel()

    async def close(self) -> None:
        """After a reply that came before the body's end, read on for a while, then end the reply.

        A client that still sends would otherwise lose the reply to a reset; one that never stops would keep its
        connection. Call it after ``release``, since this may take seconds.
        """
        if self._abandoned and self.started:
            await self._linger()
            await self._send({"type": "http.response.body", "body": b""})

    async def _hold(self, body: Body, more: int) -> None:
        if body.refusal is not None:  # ``stop`` was called; the application ends at once
            await asyncio.Event().wait()
        try:
            self._budget.grow(body, more, complete=self._complete)
        except Overloaded:
            self._abandoned = True
            raise

    async def _linger(self) -> None:
        left = _LINGER_BYTES
        with anyio.move_on_after(_LINGER_SECONDS):
            while left > 0:
                message = await self._receive()
                left -= len(message.get("body", b""))
                if message["type"] != "http.request" or not message.get("more_body"):
                    return

    def _watch(self) -> None:
        self._watcher = asyncio.get_running_loop().create_task(self._cancel_if_client_leaves())

    async def _cancel_if_client_leaves(self) -> None:
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._finished:
            self._left = True
            self._end()

    def _end(self) -> None:
        """Stop the application now."""
        with suppress(RuntimeError):  # it has ended already
            if self._limit is not None:
                self._limit.reschedule(asyncio.get_running_loop().time())


def _length(given: str) -> int:
    """How long the body is said to be; 0 where nothing readable is said."""
    return int(given) if given.isdecimal() and given.isascii() and len(given) < 20 else 0

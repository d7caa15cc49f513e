import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest

# A real uvicorn, whose clients have one second; it says where it listens.
SERVER = """
import asyncio, socket, uvicorn
from service.asgi.protocol import limited

async def app(scope, receive, send):
    if scope["path"] == "/slow":
        await asyncio.sleep(4)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

async def main():
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    await uvicorn.Server(uvicorn.Config(app, http=limited(1), lifespan="off", timeout_keep_alive=60)).serve([listener])

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def port():
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        yield int(server.stdout.readline())
        server.terminate()


def connect(port):
    link = socket.create_connection(("127.0.0.1", port))
    link.settimeout(60)
    return link


def ask(link, path="/"):
    link.sendall(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
    return until_ok(link)


def until_ok(link):
    reply = b""
    while not reply.endswith(b"ok"):
        more = link.recv(4096)
        assert more, "the server ended the connection"
        reply += more
    return reply


def ended(link):
    """Wait for the server to end the connection."""
    try:
        return link.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_connection_without_a_whole_head_is_ended(port):
    with connect(port) as silent, connect(port) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nho")
        assert ended(slow)
        assert ended(silent)


def test_a_client_that_sends_on_after_the_answer_is_ended(port):
    with connect(port) as link:
        link.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n")
        until_ok(link)
        sent = 0
        with suppress(ConnectionError):
            while sent < 1000:
                link.sendall(b"x")
                sent += 1
                time.sleep(0.05)
        assert sent < 1000


def test_a_connection_that_waits_for_its_answer_or_is_idle_is_kept(port):
    with connect(port) as waits, connect(port) as idle:
        for link, path in ((idle, "/"), (waits, "/slow"), (idle, "/"), (waits, "/")):
            assert ask(link, path).startswith(b"HTTP/1.1 200")


def test_the_head_of_a_later_request_has_the_same_time(port):
    with connect(port) as link:
        ask(link)
        time.sleep(1.5)
        link.sendall(b"GET / HT")
        assert ended(link)

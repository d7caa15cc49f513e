import os
import select
import socket
import subprocess
import sys
import time
from contextlib import suppress

from service.process.sockets import drop_unread


def accepted(listener):
    """Both ends of a new connection, the client's with the smallest window that there is."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.connect(listener.getsockname())
    return client, listener.accept()[0]


def fill(link):
    """Send until the kernel takes no more."""
    link.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            link.send(b"x" * 65_536)


def dropped(link):
    """The kernel's error once it has ended the connection, 0 if it never does."""
    ends = time.monotonic() + 60
    while not (error := link.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)) and time.monotonic() < ends:
        time.sleep(0.1)
    return error


def test_who_does_not_read_is_dropped_and_who_reads_is_not():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert drop_unread(0.5) >= 1
        silent, to_silent = accepted(listener)
        reader, to_reader = accepted(listener)
        with silent, to_silent, reader, to_reader:
            fill(to_silent)
            assert dropped(to_silent)
            to_reader.sendall(b"still here")
            assert reader.recv(10) == b"still here"


def test_sockets_that_do_not_listen_are_left_alone():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client, server = accepted(listener)
        with client, server:
            before = server.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            drop_unread(7)
            assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == before
            assert listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000


def test_the_other_end_of_a_pipe_is_not_held_open():
    reads, writes = os.pipe()
    try:
        drop_unread(7)
        os.close(writes)
        # At its end, so that whoever started a process and waits for its beginning waits no longer.
        assert select.select([reads], [], [], 10)[0]
        assert os.read(reads, 1) == b""
    finally:
        os.close(reads)


def test_after_the_last_call_nobody_is_let_in_and_who_is_in_or_at_the_door_stays():
    code = """
import asyncio, socket, threading, time
from service.listener import stop_listening
inside = []
def greet_late():
    time.sleep(0.3)
    inside.append(listener.accept()[0])
with socket.create_server(("127.0.0.1", 0)) as listener:
    first = socket.create_connection(listener.getsockname())
    inside.append(listener.accept()[0])
    second = socket.create_connection(listener.getsockname())
    threading.Thread(target=greet_late).start()
    asyncio.run(stop_listening(60))
    try:
        socket.create_connection(listener.getsockname())
    except ConnectionRefusedError:
        for there, here in zip(inside, (first, second)):
            there.sendall(b"served")
            print(here.recv(6).decode())
    never = socket.create_server(("127.0.0.1", 0))
    waits = socket.create_connection(never.getsockname())
    asyncio.run(stop_listening(0.1))
    print(waits.recv(1) or "gone")
"""  # in a process of its own, for it ends every listening socket there
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    served, after = done.stdout.split()[:2], done.stderr
    assert served == ["served", "served"], after
    # Whom nobody greets in time is cut off: the server must leave some time.
    assert "ConnectionResetError" in after

import socket
import subprocess
import sys
import time

from service.asgi.drain import Drain, quiet, stop_listening


def test_unready_first_and_closed_later():
    drain = Drain()
    assert not drain.draining()
    assert not drain.closed()
    drain.begin(3600)
    assert drain.draining()
    assert not drain.closed()
    drain.begin(0)
    assert drain.closed()


def test_listening_goes_on_while_a_connection_waits_to_be_accepted_but_not_for_ever():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not quiet(listener, 0.1)  # new work is still refused in an answer
        assert quiet(listener, 0.3)
        with socket.create_connection(listener.getsockname()):
            assert not quiet(listener, 0.3)
            assert quiet(listener, 60)
            listener.accept()[0].close()
            assert quiet(listener, 0.3)


def test_a_socket_that_stops_listening_refuses_and_keeps_its_connections():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address) as client, listener.accept()[0] as server:
            # Another process that shares the socket, as a worker does.
            with subprocess.Popen(
                [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=[listener.fileno()]
            ) as other:
                stop_listening(listener)
                stop_listening(listener)
                try:
                    socket.create_connection(address).close()
                    refused = False
                except ConnectionRefusedError:
                    refused = True
                other.communicate(b"\n")
            server.sendall(b"served")
            assert client.recv(6) == b"served"
    assert refused


def test_begin_is_measured_by_a_clock_that_nobody_sets(monkeypatch):
    drain = Drain()
    drain.begin(3600)
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert not drain.closed()

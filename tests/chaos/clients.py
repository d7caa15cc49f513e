"""Clients by the hundred that send slowly, do not read, or leave in the middle."""

import resource
import socket
import threading
import time
from contextlib import ExitStack, suppress

import psutil

from tests.chaos.processes import whole, workers
from tests.chaos.row import Row
from tests.chaos.traffic import Traffic, request
from tests.support.servers import Live
from tests.support.waiting import seconds_until


def connect(port: int, receive: int | None = None) -> socket.socket:
    """A connection, with a small window to receive in if wanted."""
    made = socket.socket()
    if receive is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    made.settimeout(10)
    made.connect(("127.0.0.1", port))
    return made


def links(live: Live) -> int:
    """Connections that the workers hold."""
    found = 0
    for worker in workers(live):
        with suppress(psutil.Error):
            found += sum(link.status == "ESTABLISHED" for link in worker.net_connections("tcp"))
    return found


def slow_senders(live: Live, body: bytes, many: int, seconds: float, cut_off: bool = False) -> Row:
    """So many requests that come a byte at a time; with ``cut_off``, each must be let go within that time."""
    port, whole_request = live.port, request(live.port, body)
    with ExitStack() as stack, Traffic(port, body) as traffic:
        fault = time.monotonic()
        slow = [stack.enter_context(connect(port)) for _ in range(many)]
        going = set(slow)
        for place in range(int(seconds * 4)):
            for link in list(going):
                try:
                    link.sendall(whole_request[place : place + 1])
                except OSError:
                    going.remove(link)
            time.sleep(0.25)
        lost = traffic.lost(fault)
    took = seconds_until(lambda: whole(live, 2))
    held = lost == 0 and took is not None and not (cut_off and going)
    note = f"{many - len(going)} let go" if cut_off else ""
    return Row(f"{many} clients that send slowly", len(traffic.sent) + many, lost, None, held, note)


def slow_readers(live: Live, body: bytes, many: int, timeout: float) -> Row:
    """So many clients that ask for much and read nothing: they are cut off after the time limit."""
    port = live.port
    ask = request(port, body, "/v1/feature-maps?channels=all&layer=0")
    before = links(live)
    with ExitStack() as stack, Traffic(port, body) as traffic:
        fault = time.monotonic()
        for _ in range(many):
            link = stack.enter_context(connect(port, 2048))
            for _ in range(4):  # several replies, more than the kernel holds for one who does not read
                link.sendall(ask)
        time.sleep(1)
        took = seconds_until(lambda: links(live) <= before + 12, timeout * 2 + 20)
        held_still = links(live) - before - 8
        lost = traffic.lost(fault)
    note = "" if took is not None else f"{held_still} connections still held"
    return Row(
        f"{many} clients that do not read", len(traffic.sent) + many, lost, took, not lost and took is not None, note
    )


def leavers(live: Live, body: bytes, many: int) -> Row:
    """Clients that leave in the middle of an upload: their work is dropped, without an error of ours."""
    port, whole_request = live.port, request(live.port, body)
    with Traffic(port, body) as traffic:
        fault = time.monotonic()
        for number in range(many):
            with connect(port) as link:
                link.sendall(whole_request[: 1 + number * (len(whole_request) - 2) // many])
        time.sleep(0.5)
        lost = traffic.lost(fault)
    errors = live.client.get("/metrics").text.count('status="500"')
    return Row(f"{many} clients that leave mid-upload", len(traffic.sent) + many, lost, None, lost == 0 and not errors)


def large_bodies(live: Live, body: bytes, many: int, size: int, bound: int) -> Row:
    """So many uploads of ``size`` bytes, each all but its end: what the workers hold of them stays within a bound.

    ``bound`` is that of one worker, in bytes. Small pictures are answered meanwhile, and whoever is refused is told
    when to come back.
    """
    port, crew = live.port, workers(live)
    ask = request(port, b"\xff" * size)
    before = sum(worker.memory_info().rss for worker in crew)
    most, replies, ended = 0, [], threading.Event()

    def watch() -> None:
        nonlocal most
        while not ended.wait(0.05):
            most = max(most, sum(worker.memory_info().rss for worker in crew))

    def send(link: socket.socket) -> None:
        with suppress(OSError):
            link.settimeout(60)
            link.sendall(memoryview(ask)[:-1000])
        with suppress(OSError):
            replies.append(link.recv(4096).decode("latin-1"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ExitStack() as stack, Traffic(port, body) as traffic:
        fault = time.monotonic()
        links = [stack.enter_context(connect(port)) for _ in range(many)]
        senders = [threading.Thread(target=send, args=(link,)) for link in links]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        lost = traffic.lost(fault)
    ended.set()
    watcher.join()
    refused = [reply for reply in replies if reply.startswith("HTTP/1.1 503")]
    told = all("retry-after: " in reply.lower() for reply in refused)
    late = sum(reply.startswith("HTTP/1.1 504") for reply in replies)
    silent = many - len(refused) - late
    grown = most - before
    allowed = len(crew) * (bound + size) + 100_000_000
    note = (
        f"{len(refused)} got 503 and {late} 504; {many * size // 1_000_000:,} MB sent, "
        f"memory +{grown // 1_000_000} MB of {allowed // 1_000_000} MB allowed"
    )
    held = (
        not lost
        and not silent
        and told
        and refused
        and grown <= allowed
        and seconds_until(lambda: whole(live, 2)) is not None
    )
    return Row(
        f"{many} uploads of {size // 1_000_000} MB that never end",
        len(traffic.sent) + many,
        lost + silent,
        None,
        bool(held),
        note,
    )


def no_descriptors(live: Live, body: bytes, many: int) -> Row:
    """Workers may open hardly anything more: whoever is connected is answered, and when it is over so is everybody."""
    port, crew = live.port, workers(live)
    with Traffic(port, body) as traffic:
        time.sleep(0.5)
        fault = time.monotonic()
        before = {worker.pid: resource.prlimit(worker.pid, resource.RLIMIT_NOFILE) for worker in crew}
        for worker in crew:
            top = max(int(path) for path in _descriptors(worker))
            resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, (top + 8, before[worker.pid][1]))
        with ExitStack() as stack:
            for _ in range(many):
                with suppress(OSError):
                    stack.enter_context(connect(port))
            time.sleep(3)
        freed = time.monotonic()
        took = seconds_until(lambda: live.client.get("/readyz", headers={"connection": "close"}).status_code == 200)
        for worker in crew:
            resource.prlimit(worker.pid, resource.RLIMIT_NOFILE, before[worker.pid])
        time.sleep(0.5)
        lost = traffic.lost(fault)
    held = lost == 0 and took is not None and {worker.pid for worker in workers(live)} == set(before)
    return Row(
        f"descriptors exhausted by {many} connections", len(traffic.sent) + many, lost, took if freed else None, held
    )


def _descriptors(worker: psutil.Process) -> list[str]:
    from pathlib import Path

    return [path.name for path in Path(f"/proc/{worker.pid}/fd").iterdir()]

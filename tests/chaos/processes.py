"""The server's processes are killed, stopped and told to leave."""

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import psutil

from tests.chaos.row import Row
from tests.chaos.traffic import Sent, Traffic
from tests.support.servers import Live
from tests.support.waiting import seconds_until


def workers(live: Live) -> list[psutil.Process]:
    """The processes that answer: those of ours that listen and have no child that does."""
    tree = psutil.Process(live.process.pid).children(recursive=True)
    return [process for process in tree if _is_worker(process)]


def _is_worker(process: psutil.Process) -> bool:
    try:
        words = " ".join(process.cmdline())
        return "service.process.worker" in words or "_bentoml_impl.worker.service" in words
    except psutil.Error:
        return False


def whole(live: Live, many: int) -> bool:
    """Whether so many workers are there, each has taken a fresh connection, and every one of these was answered."""
    crew = {worker.pid for worker in workers(live)}
    with ExitStack() as stack:
        links = [stack.enter_context(socket.create_connection(("127.0.0.1", live.port), 5)) for _ in range(12)]
        for link in links:
            link.settimeout(5)
            link.sendall(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        ready = [link.recv(64).startswith(b"HTTP/1.1 200") for link in links]
        ours = {link.getsockname()[1] for link in links}
        took = {pid for pid in crew if ours & _ports(pid)}
    return len(crew) == many and took == crew and all(ready)


def _ports(pid: int) -> set[int]:
    """The far ports of a process's connections."""
    try:
        return {link.raddr.port for link in psutil.Process(pid).net_connections("tcp") if link.raddr}
    except psutil.Error:
        return set()


def killed(live: Live, body: bytes, times: int, how: signal.Signals = signal.SIGKILL) -> Row:
    """A worker gets a signal that ends it, again and again; only SIGKILL may cost the requests in flight."""
    lost, took, tries, kinds = 0, [], 0, []
    for _ in range(times):
        with Traffic(live.port, body) as traffic:
            time.sleep(0.5)
            victim = workers(live)[0]
            fault = time.monotonic()
            victim.send_signal(how)
            seconds_until(lambda: not victim.is_running(), 15)  # noqa: B023
            took.append(seconds_until(lambda: whole(live, 2)))
            time.sleep(0.5)
        tries += len(traffic.sent)
        lost += traffic.lost(fault, cuts=how == signal.SIGKILL)
        kinds.append(traffic.kinds(fault))
    recovery = None if None in took else max(took)
    return Row(
        f"{how.name} to one worker of two ({times} times)",
        tries,
        lost,
        recovery,
        lost == 0 and recovery is not None,
        "; ".join(filter(None, kinds)),
    )


def stopped(live: Live, body: bytes, seconds: float) -> Row:
    """A worker is stopped (SIGSTOP) for a while, then continued."""
    with Traffic(live.port, body, timeout=2) as traffic:
        time.sleep(0.5)
        victim = workers(live)[0]
        fault = time.monotonic()
        victim.suspend()
        time.sleep(seconds)
        victim.resume()
        took = seconds_until(lambda: whole(live, 2))
        time.sleep(0.5)
    return outcome(f"worker stopped for {seconds:g} s, of two", traffic, fault, took)


def hung(live: Live, body: bytes, seconds: float) -> Row:
    """A worker is stopped (SIGSTOP) for good; the watchdog, which waits for ``seconds``, replaces it."""
    with Traffic(live.port, body, timeout=seconds + 20) as traffic:
        time.sleep(0.5)
        victim = workers(live)[0]
        fault = time.monotonic()
        victim.suspend()
        took = seconds_until(lambda: whole_without(live, 2, victim.pid), 90)
        time.sleep(0.5)
    return outcome("worker stopped for good, of two", traffic, fault, took)


def outcome(title: str, traffic: Traffic, fault: float, took: float | None) -> Row:
    """The row of a fault that may cut off what was in flight, and that is over ``took`` seconds after it began."""
    lost = traffic.lost(fault, cuts=True)
    return Row(title, len(traffic.sent), lost, took, lost == 0 and took is not None, traffic.kinds(fault))


def whole_without(live: Live, many: int, pid: int) -> bool:
    """As ``whole``, and one process is none of the workers any more."""
    return pid not in {worker.pid for worker in workers(live)} and whole(live, many)


def parent_killed(live: Live, body: bytes) -> Row:
    """``catseye serve`` is killed: its workers end by themselves, and the port is free for a new server."""
    root = psutil.Process(live.process.pid)
    tree = [root, *root.children(recursive=True)]
    with Traffic(live.port, body, timeout=5) as traffic:
        seconds_until(lambda: whole(live, 2))
        fault = time.monotonic()
        root.kill()
        took = seconds_until(lambda: all(not _runs(process) for process in tree) and _free(live.port))
        time.sleep(0.2)
    lost = _unanswered(traffic.since(fault))
    return Row(
        "SIGKILL to catseye serve: its workers end",
        len(traffic.sent),
        lost,
        took,
        lost == 0 and took is not None,
        traffic.kinds(fault),
    )


def _unanswered(sent: Sequence[Sent]) -> int:
    """How many were let in and got no answer, or none that says when to come back.

    A refused connection has lost nothing.
    """
    lost = sum(one.status not in (200, 503, -1) for one in sent)
    return lost + sum(one.status == 503 and not one.retry_after.isdigit() for one in sent)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    return True


def told_to_leave(live: Live, body: bytes, meanwhile: Callable[[], object] | None = None) -> Row:
    """SIGTERM under load: what was taken is answered, what comes later is sent away in words.

    ``meanwhile`` is called half a second after the signal.
    """
    with Traffic(live.port, body, pause=0.0) as traffic:
        time.sleep(0.5)
        fault = time.monotonic()
        os.kill(live.process.pid, signal.SIGTERM)
        if meanwhile is not None:
            time.sleep(0.5)
            meanwhile()
        gone = seconds_until(lambda: live.process.poll() is not None)
        time.sleep(0.2)
    after = traffic.since(fault)
    lost = _unanswered(after)
    answered = sum(sent.status == 200 for sent in after)
    code = live.process.poll()
    note = f"{answered:,} answered after the signal, exit {code}; {traffic.kinds(fault)}"
    return Row("SIGTERM under load", len(traffic.sent), lost, gone, lost == 0 and code == 0, note)

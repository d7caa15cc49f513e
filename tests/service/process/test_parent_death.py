import os
import select
import subprocess
import sys

# A parent that starts a child, says its number, and is killed.
PARENT = """
import subprocess, sys, time
from service.orphans import for_a_child
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], preexec_fn=for_a_child())
print(child.pid, flush=True)
time.sleep(600)
"""


def test_a_child_ends_when_its_parent_is_killed():
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        child = os.pidfd_open(int(parent.stdout.readline()))
        assert not select.select([child], [], [], 0)[0]
        parent.kill()
        # The handle can be read once the process has ended, whoever its parent is by then.
        assert select.select([child], [], [], 60)[0]
        os.close(child)


def test_asking_for_it_changes_nothing_while_the_parent_lives():
    code = (
        "import signal; from service.process import parent_death; print(parent_death.end_with_parent(signal.SIGTERM))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == (str(sys.platform == "linux"), 0)


WORKER = """
import asyncio, os, signal, sys
from pathlib import Path
from service.drain import Drain
from service.orphans import leave_with_parent

async def work():
    drain, end = Drain(), asyncio.Event()
    leave_with_parent(drain)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    print(os.getpid(), flush=True)
    while not drain.closed():
        await asyncio.sleep(0.01)
    refused = not end.is_set()
    await end.wait()
    Path(sys.argv[1]).write_text(f"refused first: {refused}")

asyncio.run(work())
"""


def test_a_worker_whose_parent_was_killed_refuses_work_and_then_leaves(tmp_path):
    said = tmp_path / "said"
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
    arguments = [sys.executable, "-c", code, WORKER, str(said)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        worker = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        assert select.select([worker], [], [], 60)[0]
        os.close(worker)
    assert said.read_text() == "refused first: True"

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
    code = "from service.orphans import end_with_parent; print(end_with_parent())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == (str(sys.platform == "linux"), 0)

import os
import subprocess
import sys

from service.metric_files import BYTES

GROW = """
import os, resource, sys
from prometheus_client import Counter
from service.metric_files import BYTES, keep_growing
if sys.argv[1] == "kept":
    keep_growing()
counted = Counter("counted", "-", ("number",))
counted.labels("first").inc()
(file,) = os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])
path = os.path.join(os.environ["PROMETHEUS_MULTIPROC_DIR"], file)
print(os.path.getsize(path))
none_left = max(map(int, os.listdir("/proc/self/fd"))) + 1
before = resource.getrlimit(resource.RLIMIT_NOFILE)
held = [os.open("/dev/null", os.O_RDONLY) for _ in range(2)]
os.close(held[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, before[1]))
refused = 0
for number in range(BYTES // 100):
    try:
        counted.labels(str(number) + "x" * 100).inc()
    except OSError:
        refused = number
        break
resource.setrlimit(resource.RLIMIT_NOFILE, before)
try:
    counted.labels("after" + "x" * 200).inc()
    print("refused" if refused else "none refused", "kept")
except IndexError:
    print("refused" if refused else "none refused", "lost for good")
"""


def grow(tmp_path, way):
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    command = [sys.executable, "-c", GROW, way]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return done.stdout.splitlines() or done.stderr


def test_a_file_that_could_not_grow_grows_later(tmp_path):
    assert grow(tmp_path, "kept") == [str(BYTES), "refused kept"]


def test_the_library_alone_would_lose_every_new_label(tmp_path):
    """When this fails, the library has been mended and ``keep_growing`` may go."""
    size, after = grow(tmp_path, "plain")
    assert int(size) < BYTES
    assert after == "refused lost for good"


ASKED = """
import os
asked = []
getpid = os.getpid
os.getpid = lambda: asked.append(1) or getpid()
from service.metrics import IN_FLIGHT
del asked[:]
for _ in range(100):
    IN_FLIGHT.inc()
print(len(asked))
child = os.fork()
if child == 0:
    IN_FLIGHT.inc()
    os._exit(0)
os.waitpid(child, 0)
kept = os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"])
print(sum(name == f"gauge_livesum_{number}.db" for name in kept for number in (getpid(), child)))
"""


def test_a_process_is_asked_for_its_number_once_and_its_child_counts_for_itself(tmp_path):
    environment = os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", ASKED], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "2"]

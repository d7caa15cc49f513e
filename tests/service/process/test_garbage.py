import subprocess
import sys

# In a process of its own, since it is about all that a process holds.
SCRIPT = """
import gc, weakref
from service.garbage import Garbage

class Network:
    def __init__(self):
        self.itself = self

gc.disable()
old, changes = Network(), [0]
gone = weakref.ref(old)
garbage = Garbage(lambda: changes[0])
garbage.begin()
assert gc.isenabled() and gc.get_freeze_count()
new = weakref.ref(Network())
gc.collect()
print("what is new is found:", new() is None)
del old
gc.collect()
print("what was there is not:", gone() is not None)
garbage.look()
print("nor without a change:", gone() is not None)
changes[0] += 1
garbage.look()
print("nor at once:", gone() is not None)
garbage.look()
print("but then:", gone() is None)
print("and all is left out again:", gc.get_freeze_count() > 1000)
"""


def test_what_was_there_is_searched_once_after_a_network_has_come_or_gone():
    found = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout
    assert [line.rpartition(" ")[2] for line in found.splitlines()] == ["True"] * 6, found


KERAS = """
import gc, weakref
from models.environment import before_tensorflow
before_tensorflow()
from models.runtime_tensorflow import TensorflowRuntime
from service.garbage import Garbage
from tests.models.networks import stored

gc.disable()
runtime, changes = TensorflowRuntime(stored("cnn", size=36)), [0]
network = weakref.ref(runtime._network)
garbage = Garbage(lambda: changes[0])
garbage.begin()
runtime.close()
del runtime
gc.collect()
print("a search of what is new leaves it:", network() is not None)
changes[0] += 1
garbage.look()
garbage.look()
print("it is given back:", network() is None)
"""


def test_a_keras_network_that_was_let_go_is_given_back():
    done = subprocess.run([sys.executable, "-c", KERAS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.rpartition(" ")[2] for line in done.stdout.splitlines()] == ["True"] * 2, done.stdout

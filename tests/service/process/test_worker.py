import subprocess
import sys


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_a_module_that_was_put_off_is_imported_when_it_is_used():
    code = """
import importlib.util, sys
from service.worker import put_off
put_off("wave")
import wave
print("chunk" in sys.modules, importlib.util.find_spec("wave").name)
print(wave.Error.__module__, sys.modules["wave"].__file__ == wave.__file__)
"""
    assert run(code) == ["False", "wave", "wave", "True"]


def test_names_and_parts_of_it_are_imported_at_once():
    code = """
import sys
from service.worker import put_off
put_off("xml")
put_off("wave")
from wave import Wave_read
import xml.dom.minidom
print(Wave_read.__module__, xml.dom.minidom.__name__, sys.modules["xml"].dom is xml.dom)
"""
    assert run(code) == ["wave", "xml.dom.minidom", "True"]


def test_a_module_that_is_imported_or_missing_is_left_alone():
    code = """
import json, sys
from service.worker import put_off
before = sys.modules["json"]
put_off("json")
put_off("no_such_module_anywhere")
print(sys.modules["json"] is before, "no_such_module_anywhere" in sys.modules)
"""
    assert run(code) == ["True", "False"]


def test_bentoml_s_worker_is_imported_without_what_was_put_off():
    code = """
import sys
from service.worker import put_off
put_off("aiohttp")
import _bentoml_impl.server.app
print("aiohttp" in sys.modules, "aiohttp.client" in sys.modules)
"""
    assert run(code) == ["True", "False"]

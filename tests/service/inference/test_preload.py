import os
import subprocess
import sys

CODE = """
import sys
from service.inference.preload import preload
begun = preload()
assert preload() is begun
try:
    print(begun.result().registry.names(), "tensorflow" in sys.modules)
except Exception as error:
    print(type(error).__name__)
"""


def run(store, **settings):
    environment = os.environ | {"BENTOML_HOME": str(store), "CATSEYE_TUNE_SECONDS": "0"} | settings
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_the_models_are_loaded_once_and_said(tmp_path):
    from tests.support.networks import fill_store

    fill_store(tmp_path / "store")
    lines = run(tmp_path / "store")
    (names,) = [line for line in lines if line.endswith("False")]
    assert names != "[] False"
    assert any(line.startswith("serving ") for line in lines)


def test_what_stops_the_opening_reaches_who_waits_for_it(tmp_path):
    (tmp_path / "store").write_text("a file where the store should be")
    assert {"StoreError", "[] False"} & set(run(tmp_path / "store"))

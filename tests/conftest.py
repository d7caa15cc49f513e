"""Every test session has a store, a state folder and a folder for scratch of its own; the user's are never touched."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from models.environment import before_tensorflow

# pytest's own folders stay where they were, so that those of a failed test can be looked at.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
_home = Path(tempfile.mkdtemp(prefix="catseye-tests-"))
atexit.register(shutil.rmtree, _home, ignore_errors=True)
os.environ["TMPDIR"] = tempfile.tempdir = str(_home)
# BentoML reads its home when it is imported, so this must come before any test module.
os.environ["BENTOML_HOME"] = str(_home / "bentoml")
os.environ["CATSEYE_HOME"] = str(_home / "catseye")
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
before_tensorflow()

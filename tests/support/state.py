"""Every test session has a store, a state folder and a scratch folder of its own; the user's are never touched.

Import this before anything that imports BentoML, which reads its home when it is imported.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from models.environment import before_tensorflow

# pytest's own folders stay where they were, so that those of a failed test can be looked at.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
HOME = Path(tempfile.mkdtemp(prefix="catseye-tests-"))
atexit.register(shutil.rmtree, HOME, ignore_errors=True)
os.environ["TMPDIR"] = tempfile.tempdir = str(HOME)
os.environ["BENTOML_HOME"] = str(HOME / "bentoml")
os.environ["CATSEYE_HOME"] = str(HOME / "catseye")
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
before_tensorflow()

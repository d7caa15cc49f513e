"""Every test session has a store and a state folder of its own; the user's are never touched."""

import os
import tempfile
from pathlib import Path

_home = Path(tempfile.mkdtemp(prefix="catseye-tests-"))
# BentoML reads its home when it is imported, so this must come before any test module.
os.environ["BENTOML_HOME"] = str(_home / "bentoml")
os.environ["CATSEYE_HOME"] = str(_home / "catseye")
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

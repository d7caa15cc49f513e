"""A copy of the checkout in another folder, with this environment as its ``.venv``."""

import shutil
import sys
from pathlib import Path

from tests.support import ROOT

FOLDER = 'it\'s a "test" – 폴더 $HOME'
"""What a folder may be called: every character that a shell, make or a command line could stumble over."""
PARTS = ("Makefile", "pyproject.toml", "requirements.lock", "README.md", "catseye.py", "models", "training", "service")


def copy_checkout(folder: Path) -> Path:
    """Copy what the commands need; make finds ``.venv`` ready, so that nothing is installed."""
    folder.mkdir(parents=True)
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    environment = folder / ".venv"
    (environment / "bin").mkdir(parents=True)
    python = Path(sys.executable).resolve()
    (environment / "bin" / "python").symlink_to(python)
    (environment / "lib").symlink_to(Path(sys.prefix) / "lib")
    (environment / "pyvenv.cfg").write_text(f"home = {python.parent}\ninclude-system-site-packages = false\n")
    for stamp in ("ready-run", "ready-dev"):
        (environment / stamp).touch()
    return folder

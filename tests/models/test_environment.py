import os
import subprocess
import sys

import pytest

from models.environment import before_tensorflow


def test_a_user_s_own_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    before_tensorflow()
    assert (os.environ["TF_ENABLE_ONEDNN_OPTS"], os.environ["TF_CPP_MIN_LOG_LEVEL"]) == ("0", "3")


@pytest.mark.parametrize("command", ["train --help", "serve --help"])
def test_a_command_imports_no_tensorflow_before_it_is_set(command: str) -> None:
    """Set after the import, it would be read by nobody."""
    code = (
        "import sys\n"
        "sys.argv = ['catseye', *sys.argv[1:]]\n"
        "import catseye\n"
        "try:\n    catseye.main()\nexcept SystemExit:\n    pass\n"
        "print('tensorflow' in sys.modules, 'keras' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *command.split()], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines()[-1] == "False False", done.stderr

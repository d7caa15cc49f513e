import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.environment import before_tensorflow, remarks_dropped


def test_a_user_s_own_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    before_tensorflow()
    assert (os.environ["TF_ENABLE_ONEDNN_OPTS"], os.environ["TF_CPP_MIN_LOG_LEVEL"]) == ("0", "3")


REMARKS = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795902186.550190    5242 port.cc:153] oneDNN custom operations are on.\n"
)


def test_remarks_are_dropped_and_warnings_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        with remarks_dropped():
            os.write(2, REMARKS + b"W0000 a warning\n")
            raise ImportError

    with pytest.raises(ImportError):
        fails()
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "W0000 a warning\nafterwards\n"


def test_remarks_stay_for_those_who_ask(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with remarks_dropped():
        os.write(2, REMARKS)
    assert capfd.readouterr().err.encode() == REMARKS


def test_a_command_is_not_drowned_by_tensorflow(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("crane\ncrane\n")
    command = ("-m", "catseye", "import", "no.keras", "--name", "birds", "--labels", str(path))
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120)
    assert done.stderr.count("\n") == 1, done.stderr
    assert "'crane'. Tell them apart" in done.stderr


def test_tensorflow_is_imported_where_standard_error_is_closed() -> None:
    code = "from models.environment import import_tensorflow; import_tensorflow(); print('imported')"
    command = f'exec "$0" -c "{code}" 2>&-'
    done = subprocess.run(["sh", "-c", command, sys.executable], stdout=subprocess.PIPE, text=True, timeout=120)
    assert done.stdout == "imported\n"


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

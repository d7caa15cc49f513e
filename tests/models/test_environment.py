import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.environment import before_tensorflow, has_bfloat16, info_log_dropped, no_telemetry


def test_a_user_s_own_settings_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL")
    before_tensorflow()
    assert (os.environ["TF_ENABLE_ONEDNN_OPTS"], os.environ["TF_CPP_MIN_LOG_LEVEL"]) == ("0", "3")


INFO = (
    b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    b"I0000 00:00:1795902186.550190    5242 port.cc:153] oneDNN custom operations are on.\n"
)


def test_info_lines_are_dropped_and_warnings_are_not(capfd: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        with info_log_dropped():
            os.write(2, INFO + b"W0000 a warning\n")
            raise ImportError

    with pytest.raises(ImportError):
        fails()
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "W0000 a warning\nafterwards\n"


def test_info_lines_stay_for_those_who_ask(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with info_log_dropped():
        os.write(2, INFO)
    assert capfd.readouterr().err.encode() == INFO


def test_a_command_is_not_drowned_by_tensorflow(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("crane\ncrane\n")
    command = ("-m", "catseye", "import", "no.keras", "--name", "birds", "--labels", str(path))
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120)
    assert done.stderr.count("\n") == 1, done.stderr
    assert "'crane'. Make them different" in done.stderr


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


def test_bfloat16_is_what_the_processor_says() -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    if {"avx512_bf16", "amx_bf16"} & set(flags):
        assert has_bfloat16()
    if not {"avx512f", "avx_ne_convert", "bf16"} & set(flags):
        assert not has_bfloat16()


@pytest.mark.long
@pytest.mark.parametrize("before", [None, "", "1"])
def test_the_environment_comes_back(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    if before is not None:
        monkeypatch.setenv("CI", before)
    with no_telemetry(), no_telemetry():
        assert os.environ["CI"] == "true"
    assert os.environ.get("CI") == before


@pytest.mark.long
def test_nothing_reports_to_its_maker(tmp_path: Path) -> None:
    """The visitor's number in the home folder is written before anything is sent."""
    code = """
import sys
from pathlib import Path
from models.export.int8 import quantize
from models.export.openvino import export_openvino
import models.runtime.openvino
from tests.support.networks import images, network
export_openvino(network("cnn"), Path(sys.argv[1]))
quantize(Path(sys.argv[1]), images(2, 32))
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = os.environ | {"HOME": str(home), "CI": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert not (home / "intel").exists()


@pytest.mark.long
def test_ray_keeps_its_statistics_to_itself() -> None:
    code = """
from models.environment import load_ray
load_ray()
from ray._common.usage import usage_lib
print(usage_lib.usage_stats_enabled())
"""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr

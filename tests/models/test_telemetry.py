import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.telemetry import no_telemetry

pytestmark = pytest.mark.long


@pytest.mark.parametrize("before", [None, "", "1"])
def test_the_environment_comes_back(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    if before is not None:
        monkeypatch.setenv("CI", before)
    with no_telemetry(), no_telemetry():
        assert os.environ["CI"] == "true"
    assert os.environ.get("CI") == before


def test_nothing_reports_to_its_maker(tmp_path: Path) -> None:
    """The visitor's number in the home folder is written before anything is sent."""
    code = """
import sys
from pathlib import Path
from models.export.openvino import export_openvino, quantize
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


def test_ray_keeps_its_statistics_to_itself() -> None:
    code = """
from models.telemetry import load_ray
load_ray()
from ray._common.usage import usage_lib
print(usage_lib.usage_stats_enabled())
"""
    environment = os.environ | {"RAY_USAGE_STATS_ENABLED": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr

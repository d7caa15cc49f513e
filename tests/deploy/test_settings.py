"""``docker-compose.yml`` lets everything through that an operator can set."""

import yaml

from service.settings import Settings
from tests.support import ROOT

FIXED_BY_THE_IMAGE = {"home", "runtime"}
"""Where its state lies, and TensorFlow, which it does not have."""


def test_every_setting_reaches_the_container() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    passed = {name for name in compose["services"]["service"]["environment"] if name.startswith("CATSEYE_")}
    assert passed == {f"CATSEYE_{name.upper()}" for name in Settings.model_fields.keys() - FIXED_BY_THE_IMAGE}

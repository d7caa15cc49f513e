"""The Kubernetes manifests, as ``kubectl apply -k`` would send them."""

import subprocess
from functools import cache
from typing import Any

import yaml

from tests.support import ROOT
from tests.support.programs import need

KUBERNETES = ROOT / "deploy" / "kubernetes"


def objects(folder: str) -> dict[str, dict[str, Any]]:
    """The objects of an overlay by kind; without kubectl, the test is skipped."""
    return _objects(folder, need("kubectl"))


@cache
def _objects(folder: str, kubectl: str) -> dict[str, dict[str, Any]]:
    result = subprocess.run([kubectl, "kustomize", KUBERNETES / folder], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    found = list(yaml.safe_load_all(result.stdout))
    assert len({item["kind"] for item in found}) == len(found)
    return {item["kind"]: item for item in found}


def pod(folder: str) -> dict[str, Any]:
    """The pod's specification."""
    spec: dict[str, Any] = objects(folder)["Deployment"]["spec"]["template"]["spec"]
    return spec

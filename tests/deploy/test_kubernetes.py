"""The Kubernetes manifests: each overlay builds, each object fits the API's schema, and they fit each other."""

import kubernetes_validate
import pytest
import yaml

from service.settings import Settings
from tests.support.kubernetes import objects, pod

FOLDERS = ("base", "overlays/monitoring", "overlays/object-storage", "overlays/scale-on-load")
API_VERSION = kubernetes_validate.latest_version()
CUSTOM = {"ServiceMonitor"}
"""Kinds of other projects, which the Kubernetes API's schema does not know."""


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_object_fits_the_schema(folder: str) -> None:
    for kind, item in objects(folder).items():
        if kind not in CUSTOM:
            kubernetes_validate.validate(item, API_VERSION, strict=True)


def test_the_schema_would_refuse_a_slip() -> None:
    broken = yaml.safe_load(yaml.safe_dump(objects("base")["Deployment"]))
    broken["spec"]["template"]["spec"]["containers"][0]["readinessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, API_VERSION, strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_selectors_meet_the_pods(folder: str) -> None:
    labels = objects(folder)["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    found = objects(folder)
    assert found["Service"]["spec"]["selector"].items() <= labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels
    policy = found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert policy
    assert policy.items() <= labels
    assert found["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "catseye"


@pytest.mark.parametrize("folder", FOLDERS)
def test_applying_again_does_not_set_back_what_the_autoscaler_chose(folder: str) -> None:
    found = objects(folder)
    assert "replicas" not in found["Deployment"]["spec"]
    assert found["HorizontalPodAutoscaler"]["spec"]["minReplicas"] >= 2
    assert found["Deployment"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_the_service_monitor_meets_the_service() -> None:
    found = objects("overlays/monitoring")
    monitor, service = found["ServiceMonitor"], found["Service"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert {end["port"] for end in monitor["spec"]["endpoints"]} <= {port["name"] for port in service["spec"]["ports"]}


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_are_hardened_and_drain(folder: str) -> None:
    spec = pod(folder)
    assert spec["securityContext"]["runAsNonRoot"] is True
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        mounts = {mount["name"] for mount in container["volumeMounts"]}
        assert mounts <= {volume["name"] for volume in spec["volumes"]}
    settings = {item["name"]: item.get("value") for item in spec["containers"][0]["env"]}
    drain, longest = float(settings["CATSEYE_DRAIN_SECONDS"]), Settings().timeout
    assert spec["terminationGracePeriodSeconds"] > drain + longest


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_setting_is_one_that_the_service_knows(folder: str) -> None:
    known = {f"CATSEYE_{name.upper()}" for name in Settings.model_fields}
    names = {item["name"] for item in pod(folder)["containers"][0]["env"]}
    assert {name for name in names if name.startswith("CATSEYE_")} <= known


def test_object_storage_needs_no_shared_volume() -> None:
    found = objects("overlays/object-storage")
    assert "PersistentVolumeClaim" not in found
    store = next(volume for volume in pod("overlays/object-storage")["volumes"] if volume["name"] == "store")
    assert set(store) == {"name", "emptyDir"}

"""The images' bills of materials: valid CycloneDX, the packages of their locks, the same bytes each time."""

import json
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from cyclonedx.schema import OutputFormat
from cyclonedx.validation import make_schemabased_validator

from deploy import locks, sbom

IMAGES = tuple(sbom.IMAGES)
SILENT = {"namex"}
"""Packages whose metadata name no licence; a file in them does (Apache 2.0)."""


def text(image: str) -> str:
    """The bill of an image, as it is in the repository."""
    return (locks.FOLDER / f"{image}.cdx.json").read_text(encoding="utf-8")


def bill(image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text(image))
    return found


@pytest.fixture(scope="module")
def installed() -> Bom:
    return sbom.installed()


@pytest.mark.parametrize("image", IMAGES)
def test_the_bill_is_what_the_locks_and_this_environment_say(image: str, installed: Bom) -> None:
    assert sbom.bill(image, installed) == text(image)


@pytest.mark.parametrize("image", IMAGES)
def test_the_bill_is_valid(image: str) -> None:
    validator = make_schemabased_validator(OutputFormat.JSON, sbom.SCHEMA)
    assert validator.validate_str(text(image)) is None
    broken = bill(image)
    broken["components"][0]["hashes"][0]["content"] = "no digest"
    assert validator.validate_str(json.dumps(broken)) is not None


@pytest.mark.parametrize("image", IMAGES)
def test_its_components_are_the_lock(image: str) -> None:
    components = bill(image)["components"]
    assert len(components) == len(locks.read(image))
    for component, locked in zip(components, locks.read(image), strict=True):
        assert component["purl"] == f"pkg:pypi/{locked.name}@{locked.version}"
        assert {each["content"] for each in component["hashes"]} == locked.hashes
        assert {each["alg"] for each in component["hashes"]} == {"SHA-256"}


@pytest.mark.parametrize("image", IMAGES)
def test_every_package_is_there_for_a_reason_and_says_its_licence(image: str) -> None:
    found = bill(image)
    needs = {each["ref"]: each.get("dependsOn", []) for each in found["dependencies"]}
    left, reached = [f"catseye-{image}"], set()
    while left:
        reference = left.pop()
        if reference not in reached:
            reached.add(reference)
            left += needs[reference]
    assert reached == {f"catseye-{image}", *(each["bom-ref"] for each in found["components"])}
    assert {each["name"] for each in found["components"] if not each.get("licenses")} <= SILENT


@pytest.mark.parametrize("image", IMAGES)
def test_nothing_of_the_moment_or_of_a_machine_is_in_it(image: str) -> None:
    assert not {"serialNumber"} & bill(image).keys()
    assert "timestamp" not in bill(image)["metadata"]
    assert "file:" not in text(image)

"""``make sbom``: what Python packages are in each image, as CycloneDX.

Versions and hashes come from the image's lock; licences, and which package needs which, from the same versions where
they are installed. Nothing of the machine or of the moment is written, so the same locks give the same bytes.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import metadata
from operator import attrgetter
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License, LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from deploy.locks import FOLDER, Locked, read

IMAGES: Mapping[str, tuple[str, ...]] = {
    "serving": ("serve", "tracing"),
    "training": ("serve", "tracing", "train"),
}
"""The images, and the extras of ``pyproject.toml`` that each holds."""
SCHEMA = SchemaVersion.V1_6


def main() -> None:
    """Write ``deploy/<image>.cdx.json`` for every image."""
    found = installed()
    for image in IMAGES:
        (FOLDER / f"{image}.cdx.json").write_text(bill(image, found), encoding="utf-8")


def installed() -> Bom:
    """What this environment holds, as the library's own command describes it."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--no-validate"]
    described = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 - of ours
    from_json = attrgetter("from_json")(Bom)  # a decorator adds it, which the type checker does not see
    bom: Bom = from_json(json.loads(described))
    return bom


def bill(image: str, found: Bom) -> str:
    """An image's packages as CycloneDX JSON; ``found`` tells licences and needs."""
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    same = {(canonicalize_name(each.name), str(each.version)): each for each in found.components}
    parts = {each.name: _component(each, same.get((each.name, each.version))) for each in read(image)}
    root = Component(
        name=f"catseye-{image}",
        version=project["version"],
        type=ComponentType.APPLICATION,
        bom_ref=f"catseye-{image}",
        licenses=[LicenseExpression(project["license"])],
        description="The image's Python packages; hashes are of all files of a version, one of which is installed.",
    )
    bom = Bom(components=parts.values())
    bom.metadata.component = root
    bom.register_dependency(root, [parts[name] for name in _asked(project, IMAGES[image])])
    needs = _needs(found)
    for name, part in parts.items():
        bom.register_dependency(part, [parts[each] for each in needs.get(name, ()) if each in parts])
    written = json.loads(make_outputter(bom, OutputFormat.JSON, SCHEMA).output_as_string())
    # The library draws both anew each time; the schema asks for neither.
    del written["serialNumber"], written["metadata"]["timestamp"]
    return json.dumps(written, indent=1, ensure_ascii=False) + "\n"


def _component(locked: Locked, found: Component | None) -> Component:
    url = PackageURL("pypi", name=locked.name, version=locked.version)
    return Component(
        name=locked.name,
        version=locked.version,
        type=ComponentType.LIBRARY,
        bom_ref=str(url),
        purl=url,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in locked.hashes],
        licenses=(found.licenses or _licence_line(locked.name)) if found else (),
    )


def _licence_line(name: str) -> list[License]:
    """What a package says in a line of its own words; the library takes names of SPDX and classifiers only."""
    said = metadata(name).json.get("license")
    return [LicenseFactory().make_from_string(said)] if isinstance(said, str) and len(said.splitlines()) == 1 else []


def _asked(project: Mapping[str, Any], extras: Iterable[str]) -> set[NormalizedName]:
    optional = project["optional-dependencies"]
    asked = [*project["dependencies"], *(text for extra in extras for text in optional[extra])]
    return {canonicalize_name(Requirement(text).name) for text in asked}


def _needs(found: Bom) -> dict[NormalizedName, list[NormalizedName]]:
    """The names of the packages that each package needs."""
    names = {each.bom_ref.value: canonicalize_name(each.name) for each in found.components}
    return {
        names[each.ref.value]: [names[needed.ref.value] for needed in each.dependencies]
        for each in found.dependencies
        if each.ref.value in names
    }


if __name__ == "__main__":
    main()

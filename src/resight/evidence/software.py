"""The list of software that a model needs, as a CycloneDX bill of materials, and as a table of SOUP (IEC 62304, 8.1.2).

Listed are the packages that Resight and its installed extras require, found by their metadata, and the weights with
their SHA-256. What a wheel carries inside (BLAS, codecs) and the operating system are not seen.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

from resight.errors import require
from resight.evidence.tables import Row, Table

_NAME = re.compile(r"^[A-Za-z0-9._-]+")
_OPTIONAL = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_LICENCE = "resight:licence"
_DEVELOPMENT = ("dev", "docs")
"""Extras that a model in use does not need."""


def bill_of_materials(weights: Mapping[str, str], name: str, created: datetime) -> str:
    """A CycloneDX 1.6 bill of materials as JSON.

    Args:
        weights: name to SHA-256 of the files with weights.
        name: of the model.
        created: date and time that it states.

    Raises:
        DependencyError: `cyclonedx-bom` is not installed.
    """
    # their classes are typed by a decorator that hides what they are called with
    cyclonedx: Any = require("cyclonedx.model", extra="evidence")
    boms: Any = require("cyclonedx.model.bom", extra="evidence")
    components: Any = require("cyclonedx.model.component", extra="evidence")
    schema: Any = require("cyclonedx.schema", extra="evidence")
    output: Any = require("cyclonedx.output", extra="evidence")
    urls: Any = require("packageurl", extra="evidence")
    kinds, part = components.ComponentType, components.Component
    number = uuid.uuid5(uuid.NAMESPACE_URL, f"{name} {sorted(weights.items())} {created.isoformat()}")
    bom = boms.Bom(serial_number=number)
    bom.metadata.timestamp = created
    model = part(name=name, type=kinds.APPLICATION, bom_ref="model")
    bom.metadata.component = model
    for file, digest in sorted(weights.items()):
        hashes = [cyclonedx.HashType(alg=cyclonedx.HashAlgorithm.SHA_256, content=digest)]
        bom.components.add(part(name=file, type=kinds.MACHINE_LEARNING_MODEL, bom_ref=file, hashes=hashes))
    for package in packages():
        label, version = package.metadata["Name"], package.version
        bom.components.add(
            part(
                name=label,
                version=version,
                type=kinds.LIBRARY,
                description=package.metadata["Summary"] or None,
                purl=urls.PackageURL("pypi", name=_folded(label), version=version),
                bom_ref=f"{_folded(label)}=={version}",
                properties=[cyclonedx.Property(name=_LICENCE, value=_licence(package))],
            )
        )
    bom.register_dependency(model, bom.components)
    return (
        output.make_outputter(bom, schema.OutputFormat.JSON, schema.SchemaVersion.V1_6).output_as_string(indent=2)
        + "\n"
    )


def packages() -> list[Distribution]:
    """Resight and the installed packages that it and its extras require, directly or not, by name.

    Empty where Resight itself is not installed as a package.
    """
    found: dict[str, Distribution] = {}
    waiting = ["resight"]
    while waiting:
        name = _folded(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # an extra that is not installed, or a requirement of another platform
        waiting += _requirements(found[name], extras=name == "resight")
    return [found[name] for name in sorted(found)]


def software_table(bill: str) -> Table:
    """The bill of materials as rows: name, version, licence, what it is for."""
    rows = [
        Row((c["name"], c.get("version", "") or _digest(c), _property(c), c.get("description", "")))
        for c in json.loads(bill).get("components", ())
    ]
    note = (
        f"{len(rows)} parts. Known anomalies of each (IEC 62304, 7.1.3) are not in the metadata: audit them before use."
    )
    return Table(
        "Software of unknown provenance", ("Part", "Version", "Licence", "What it is"), tuple(rows), note, True
    )


def _requirements(package: Distribution, *, extras: bool) -> Iterator[str]:
    for line in package.requires or ():
        optional = _OPTIONAL.search(line)
        if optional and (not extras or optional[1] in _DEVELOPMENT):
            continue
        if name := _NAME.match(line):
            yield name[0]


def _folded(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _licence(package: Distribution) -> str:
    """The licence as the package states it: an expression, else its classifiers, else the first line of the text."""
    meta: Any = package.metadata
    stated = meta.get("License-Expression", "")
    if stated:
        return stated
    kinds = [c.rpartition(" :: ")[2] for c in meta.get_all("Classifier") or () if c.startswith("License ::")]
    text = meta.get("License", "")
    return ", ".join(kinds) or (text.strip().splitlines() or ["not stated"])[0][:80]


def _property(component: Mapping[str, Any]) -> str:
    return next((p["value"] for p in component.get("properties", ()) if p["name"] == _LICENCE), "")


def _digest(component: Mapping[str, Any]) -> str:
    return next((f"sha256 {h['content'][:12]}..." for h in component.get("hashes", ())), "")

"""The risk file: hazards in the manner of ISO 14971, kept as YAML that people edit, with what the run measured beside.

Probability of harm is P1 x P2: that the situation occurs, and that it then harms (ISO 14971:2019, annex C). Which risk
is acceptable is the manufacturer's policy; nothing here decides it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field

from resight.errors import SettingsError, require
from resight.evidence.tables import Row, Table
from resight.settings import Options, load_toml, validate

MISSING = "missing"
RISK_FILE = "risks.yaml"


class Hazard(Options):
    """One way to harm somebody."""

    name: str = Field(min_length=1)
    situation: str = Field(default="", description="the hazardous situation")
    harm: str = ""
    severity: int | None = Field(default=None, ge=1, le=5, description="1 negligible to 5 catastrophic")
    p1: float | None = Field(default=None, ge=0, le=1, description="probability of the situation, per image")
    p2: float | None = Field(default=None, ge=0, le=1, description="probability that the situation harms")
    controls: str = Field(default="", description="what is done about it")
    residual: Literal["", "acceptable", "not acceptable"] = Field(default="", description="what remains of the risk")
    why: str = Field(default="", description="reason for the judgement of what remains")
    measured: str = Field(default="", description="key of the fact that the run knows about it")

    @property
    def undecided(self) -> bool:
        """Whether people have still to decide something."""
        return None in (self.severity, self.p1, self.p2) or not self.residual or not self.controls


class RiskFile(Options):
    """All hazards."""

    hazard: tuple[Hazard, ...] = Field(min_length=1)


def draft_text() -> str:
    """The risk file to start from, with its comments."""
    return files("resight.evidence").joinpath("lists", RISK_FILE).read_text(encoding="utf-8")


def read_risks(path: Path) -> RiskFile:
    """Read an edited risk file: YAML, or TOML by its ending.

    Raises:
        SettingsError: it cannot be read, has unknown keys, or values out of range.
        DependencyError: PyYAML is not installed.
    """
    if path.suffix == ".toml":
        return load_toml(path, RiskFile)
    require("yaml", extra="evidence")
    import yaml

    where = str(path)
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        found = " ".join(str(error).split())
        raise SettingsError(f"cannot be read as YAML ({found})", where=where) from error
    if not isinstance(data, dict):
        raise SettingsError("no hazards", where=where, expected="a list below the key `hazard`")
    return validate(RiskFile, {str(key): value for key, value in data.items()}, where=where)


def risk_table(risks: RiskFile, facts: Mapping[str, str]) -> Table:
    """The hazards with what was measured; what nobody decided is called missing."""
    head = ("Hazard", "Situation and harm", "Severity", "P1", "P2", "P1 x P2", "Controls", "Measured", "What remains")
    return Table("Hazards", head, tuple(_row(one, facts) for one in risks.hazard), words=True)


def _row(one: Hazard, facts: Mapping[str, str]) -> Row:
    product = MISSING if one.p1 is None or one.p2 is None else f"{one.p1 * one.p2:.2g}"
    remains = f"{one.residual}: {one.why}".removesuffix(": ") if one.residual else MISSING
    return Row(
        (
            one.name,
            f"{one.situation}. {one.harm}.",
            MISSING if one.severity is None else str(one.severity),
            *(MISSING if p is None else f"{p:.2g}" for p in (one.p1, one.p2)),
            product,
            one.controls or MISSING,
            facts.get(one.measured) or MISSING,
            remains,
        )
    )

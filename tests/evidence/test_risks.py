"""The risk file: a draft that reads, what people write into it, and what is refused with the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from resight.errors import SettingsError
from resight.evidence.risks import draft_text, read_risks, risk_table

pytest.importorskip("yaml", reason="the extra `evidence` is not installed")


def written(folder: Path, text: str, name: str = "risks.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_draft_reads_and_leaves_every_judgement_to_people(tmp_path: Path) -> None:
    risks = read_risks(written(tmp_path, draft_text()))
    assert len(risks.hazard) >= 9
    assert all(one.undecided and one.situation and one.harm and one.controls for one in risks.hazard)
    assert draft_text().startswith("# Risk file")


def test_a_hazard_in_yaml_becomes_a_row_of_the_table(tmp_path: Path) -> None:
    text = """
hazard:
  - name: Missed finding
    situation: It is there and not flagged
    harm: Late treatment
    severity: 4
    p1: 1e-2
    p2: 0.05
    controls: |
      Two readers;
      the probability is shown
    residual: acceptable
    why: rare
    measured: risk_missed
"""
    table = risk_table(read_risks(written(tmp_path, text)), {"risk_missed": "3 of 40 missed."})
    (row,) = table.rows
    assert row.cells[0] == "Missed finding"
    assert row.cells[2:6] == ("4", "0.01", "0.05", "0.0005")
    assert "Two readers" in row.cells[6]
    assert row.cells[7:] == ("3 of 40 missed.", "acceptable: rare")


def test_toml_and_yaml_of_the_same_hazard_are_the_same(tmp_path: Path) -> None:
    toml = written(tmp_path, '[[hazard]]\nname = "a"\nseverity = 2\np1 = 0.5\n', "risks.toml")
    yaml = written(tmp_path, "hazard:\n- {name: a, severity: 2, p1: 0.5}\n")
    assert read_risks(toml) == read_risks(yaml)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hazard: [", "cannot be read as YAML"),
        ("", "no hazards"),
        ("- a\n- b\n", "no hazards"),
        ("hazard: []\n", "hazard"),
        ("hazard:\n- name: a\n  severty: 3\n", "severity"),
        ("hazard:\n- name: a\n  severity: 9\n", "severity"),
        ("hazard:\n- name: a\n  p1: 1.5\n", "p1"),
        ("hazard:\n- name: a\n  residual: maybe\n", "residual"),
        ("hazard:\n- severity: 3\n", "name"),
        ("hazard: !!python/object/apply:os.system ['true']\n", "cannot be read as YAML"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_place(tmp_path: Path, text: str, found: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(SettingsError) as raised:
        read_risks(path)
    assert found in str(raised.value)
    assert "risks.yaml" in str(raised.value)

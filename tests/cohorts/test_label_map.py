from __future__ import annotations

from pathlib import Path

import pytest

from resight.cohorts import LabelMap
from resight.cohorts.chestxray14 import LABELS
from resight.errors import CohortError, SettingsError


def test_the_chest_map_knows_the_names_of_other_data_sets():
    chest = LabelMap.read(Path("chest-xray"))
    assert tuple(chest.labels) == LABELS
    assert chest.resolve("Infiltrate") == "Infiltration"
    assert chest.resolve("pleural effusion") == "Effusion"
    assert chest.resolve("Pleural Thickening") == "Pleural_Thickening"
    assert chest.resolve("Lung Opacity") is None
    with pytest.raises(CohortError, match="Did you mean 'Cardiomegaly'"):
        chest.require("Cardiomegally")


def test_table_and_toml_say_the_same(table_of, tmp_path):
    table = LabelMap.read(table_of("label;synonym;snomed\nEffusion;fluid;0060046008\nEffusion;water;\nMass;;\n"))
    toml = tmp_path / "map.toml"
    toml.write_text('[labels.Effusion]\nsynonyms = ["fluid", "water"]\nsnomed = "0060046008"\n[labels.Mass]\n')
    assert table == LabelMap.read(toml)


def test_a_synonym_belongs_to_one_label(tmp_path, table_of):
    toml = tmp_path / "map.toml"
    toml.write_text('[labels.A]\nsynonyms = ["x"]\n[labels.B]\nsynonyms = ["X"]\n')
    with pytest.raises(SettingsError, match="belongs to one label"):
        LabelMap.read(toml)
    with pytest.raises(SettingsError, match="belongs to one label"):
        LabelMap.read(table_of("label,synonym\nA,x\nB,x\n"))


def test_maps_that_cannot_be_read(table_of, tmp_path):
    toml = tmp_path / "map.toml"
    toml.write_text('[labels.A]\nsynonim = ["x"]\n')
    with pytest.raises(SettingsError, match=r"unknown key 'labels\.A\.synonim'"):
        LabelMap.read(toml)
    with pytest.raises(CohortError, match="Did you mean 'synonyms'"):
        LabelMap.read(table_of("label,synonyms\nA,x\n"))
    with pytest.raises(CohortError, match="a row names no label"):
        LabelMap.read(table_of("label,synonym\n,x\n"))
    with pytest.raises(CohortError, match="no such file"):
        LabelMap.read(tmp_path / "nothing.csv")

"""Label maps: which names mean the same finding, with SNOMED CT and RadLex codes where somebody looked them up."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from resight.cohorts.columns import as_text
from resight.errors import CohortError, nearest
from resight.settings import Options, load_toml, validate
from resight.tables import column_key, read_table, require_columns

_PACKAGED = {"chest-xray": Path(__file__).with_name("chest_xray.toml")}
_TABLE_COLUMNS = ("label", "synonym", "snomed", "radlex")


class LabelEntry(Options):
    """One label: other names for it, and its codes."""

    synonyms: tuple[str, ...] = Field(default=(), description="names that mean this label")
    snomed: str = Field(default="", description="SNOMED CT concept identifier")
    radlex: str = Field(default="", description="RadLex identifier")


class LabelMap(Options):
    """Every label with its synonyms; names are compared without case, blanks and punctuation."""

    labels: dict[str, LabelEntry] = Field(min_length=1, description="label -> its synonyms and codes")

    @classmethod
    def read(cls, path: Path) -> LabelMap:
        """Read a map.

        Args:
            path: TOML with one `[labels.NAME]` section per label; a table with the columns `label` and `synonym`, and
                perhaps `snomed` and `radlex`; or the name of a map that comes along: `chest-xray`.

        Raises:
            SettingsError: the TOML is wrong, or one synonym belongs to two labels.
            CohortError: the table is wrong.
        """
        path = _PACKAGED.get(str(path), path)
        return load_toml(path, cls) if path.suffix == ".toml" else _read_map_table(path)

    @model_validator(mode="after")
    def _one_label_each(self) -> Self:
        seen: dict[str, str] = {}
        for label, entry in self.labels.items():
            for name in (label, *entry.synonyms):
                if seen.setdefault(column_key(name), label) != label:
                    raise ValueError(f"{name!r} belongs to one label, not to {seen[column_key(name)]!r} and {label!r}")
        return self

    def resolve(self, name: str) -> str | None:
        """The label a name stands for; None when the map does not know it."""
        return self._by_key.get(column_key(name))

    def require(self, name: str, *, where: str = "") -> str:
        """The label a name stands for.

        Raises:
            CohortError: the map does not know the name; the nearest one is named.
        """
        label = self.resolve(name)
        if label is None:
            known = [n for label, entry in self.labels.items() for n in (label, *entry.synonyms)]
            raise CohortError(f"the label map does not know {name!r}", where=where, fix=nearest(name, known))
        return label

    @cached_property
    def _by_key(self) -> dict[str, str]:
        return {column_key(n): label for label, entry in self.labels.items() for n in (label, *entry.synonyms)}


def _read_map_table(path: Path) -> LabelMap:
    table = read_table(path, error=CohortError, text_columns=_TABLE_COLUMNS)
    require_columns(table, "label", "synonym", error=CohortError, where=str(path))
    text = table.reindex(columns=list(_TABLE_COLUMNS)).apply(as_text)
    if (text["label"] == "").any():
        raise CohortError("a row names no label", where=str(path))
    entries = {
        str(label): LabelEntry(
            synonyms=tuple(rows["synonym"][rows["synonym"] != ""]),
            snomed=rows["snomed"].max(),
            radlex=rows["radlex"].max(),
        )
        for label, rows in text.groupby("label", sort=False)
    }
    return validate(LabelMap, {"labels": entries}, where=str(path))

"""Which network: backbone, head, exits, further inputs, and the normalisation before them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from resight.backbones import BACKBONES
from resight.heads import HEADS
from resight.models.exits import ExitOptions
from resight.multimodal import FUSIONS, STEMS, ClinicalOptions
from resight.settings import Options


class ModelOptions(Options):
    """Backbone, head and the normalisation between image and backbone."""

    backbone: dict[str, Any] = Field(default={"name": "resnet"}, description="`name` of a backbone and its options")
    head: dict[str, Any] = Field(default={"name": "linear"}, description="`name` of a head and its options")
    exits: ExitOptions = Field(default_factory=ExitOptions, description="classifiers after earlier stages")
    clinical: ClinicalOptions | None = Field(default=None, description="columns of the table that are read as well")
    fusion: dict[str, Any] | None = Field(
        default=None, description="`name` of a fusion and its options: where the clinical columns meet the image"
    )
    stem: dict[str, Any] | None = Field(
        default=None, description="`name` of a stem and its options: where several images of one patient meet"
    )
    weights: Path | None = Field(
        default=None, description="local file the backbone starts from, safetensors or PyTorch"
    )
    weights_sha256: str | None = Field(default=None, description="checksum that file must have")
    mean: tuple[float, ...] | None = Field(
        default=None, description="per channel, in [0, 1]; ImageNet's where not given"
    )
    std: tuple[float, ...] | None = Field(
        default=None, description="per channel, in [0, 1]; ImageNet's where not given"
    )

    @field_validator("backbone", "head", "fusion", "stem")
    @classmethod
    def _named(cls, part: dict[str, Any] | None, info: ValidationInfo) -> dict[str, Any] | None:
        if part is None:
            return None
        usual = {"backbone": "resnet", "head": "linear", "fusion": "film", "stem": "channels"}[str(info.field_name)]
        named = {"name": usual, **part}
        if not isinstance(named["name"], str):
            raise ValueError("a key `name` with the name of a member")
        return named

    @model_validator(mode="after")
    def _with_table(self) -> ModelOptions:
        if self.fusion is not None and self.clinical is None:
            raise ValueError("a section [model.clinical] with the columns that are to be fused")
        return self

    @field_validator("std")
    @classmethod
    def _positive(cls, std: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if std is not None and min(std, default=0.0) <= 0:
            raise ValueError("values above 0")
        return std

    def resolved(self) -> ModelOptions:
        """The same with every default of backbone and head written out, so that later defaults change nothing.

        Raises:
            SettingsError: unknown name, unknown key or impossible value.
        """
        parts = {}
        registries = {"backbone": BACKBONES, "head": HEADS, "fusion": FUSIONS, "stem": STEMS}
        for part, registry in registries.items():
            if (named := getattr(self, part)) is not None:
                name, given = split_name(named)
                parts[part] = {"name": name, **registry.options(name, given).model_dump(mode="json")}
        if self.clinical is not None and self.fusion is None:
            parts["fusion"] = {"name": "film", **FUSIONS.options("film").model_dump(mode="json")}
        return self.model_copy(update=parts)


def split_name(part: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name of a member, and its options."""
    rest = dict(part)
    return rest.pop("name"), rest

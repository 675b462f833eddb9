"""Backbone and head as one module that takes images as they are stored: 0 to 255, normalised inside."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Bool, Float, Shaped
from pydantic import Field, ValidationInfo, field_validator, model_validator
from torch import Tensor, nn

from resight.backbones import BACKBONES, Backbone, SideBySide, load_weights
from resight.backbones.base import StageMap
from resight.blocks import watching_gates
from resight.errors import SettingsError, nearest
from resight.heads import HEADS
from resight.models.exits import Exit, ExitOptions, Shortened, build_exits
from resight.multimodal import FUSIONS, STEMS, ClinicalInput, ClinicalOptions, StemOptions, TableEncoding, seen
from resight.settings import Options

Images = Shaped[Tensor, "B C *space"]
Table = Float[Tensor, "B T"]

_IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
_IMAGENET_STD: Final = (0.229, 0.224, 0.225)
# Published weights expect these; one grey channel gets their average, so that summed first-layer weights fit.
_GREY_MEAN: Final = (0.449,)
_GREY_STD: Final = (0.226,)
_AUXILIARY_WEIGHT: Final = 0.4
"""Of the side branch's loss, as in the reference implementation of Inception-v3."""


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
                name, given = _split(named)
                parts[part] = {"name": name, **registry.options(name, given).model_dump(mode="json")}
        if self.clinical is not None and self.fusion is None:
            parts["fusion"] = {"name": "film", **FUSIONS.options("film").model_dump(mode="json")}
        return self.model_copy(update=parts)


@dataclass(frozen=True)
class Answers:
    """What a network says of a batch while it is trained.

    Attributes:
        logits: `(B, L)`.
        auxiliary: logits of side branches that are trained along, each with the weight of its loss.
        penalty: scalar that the network itself adds to the loss, for example for work that it did not skip.
        features: the pooled map of the last stage, before any table.
    """

    logits: Float[Tensor, "B L"]
    auxiliary: tuple[tuple[Float[Tensor, "B L"], float], ...] = ()
    penalty: Float[Tensor, ""] | None = None
    features: Float[Tensor, "B F"] | None = None


class Classifier(nn.Module):
    """Images on the scale 0 to 255 in, logits out.

    An image, or one of several modalities, that is black everywhere counts as missing in a network that reads more than
    one input; a table that is not given counts as one of which nothing is known.

    Args:
        backbone: images to features.
        head: features to logits.
        mean: per channel, in [0, 1]; kept as a buffer, so that it travels with the weights.
        std: per channel, in [0, 1].
        exits: `Exit` by name of the stage it comes after, in order of work.
        exit_weight: of each exit's loss.
        exit_matching: of the squared distance of each exit's logits from those of the last classifier.
        clinical: where columns of a table come in; None for a network of images alone.
        stem: stands before the backbone.
        modalities: images of one patient that the channels hold side by side.
        modality_dropout: chance that one of them is hidden in training.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: Backbone,
        head: nn.Module,
        mean: Sequence[float],
        std: Sequence[float],
        exits: nn.ModuleDict | None = None,
        exit_weight: float = 1.0,
        *,
        exit_matching: float = 0.0,
        clinical: ClinicalInput | None = None,
        stem: nn.Module | None = None,
        modalities: int = 1,
        modality_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.exits = nn.ModuleDict() if exits is None else exits
        self.exit_weight, self.exit_matching = exit_weight, exit_matching
        self.clinical = clinical
        self.stem = nn.Identity() if stem is None else stem
        self.modalities, self.modality_dropout = modalities, modality_dropout
        self.assumed: Table | None = None
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    @property
    def pools_by_mean(self) -> bool:
        """Whether features are the mean of the last stage's map, with nothing between."""
        return self.backbone.pools_by_mean and not (self.clinical and self.clinical.fusion.acts_on_map)

    def beside(self, table: Table) -> Classifier:
        """The same network, parameters shared, for images of one patient: explainers ask about images alone.

        Args:
            table: the patient's row `(1, T)`.
        """
        fixed = copy.copy(self)
        fixed.assumed = table
        return fixed

    def normalise(self, images: Images) -> Float[Tensor, "B C *space"]:
        """Images 0 to 255, of any type, to what the backbone takes; `float32` before autocast."""
        shape = (1, -1, *[1] * (images.ndim - 2))
        scale, shift = 1.0 / (255.0 * self.std), self.mean / self.std
        normal = images.to(scale.dtype) * scale.view(shape) - shift.view(shape)
        if self.modalities == 1:
            return normal
        there = self._present(images).repeat_interleave(images.shape[1] // self.modalities, dim=1)
        return normal * there.view(*there.shape, *[1] * (images.ndim - 2))

    def stages(self, images: Images) -> tuple[StageMap, ...]:
        """Feature maps of all stages of the backbone, finest first."""
        return self._with_missing(self.backbone.stages(self.stem(self.normalise(images))), images)

    def features(self, images: Images) -> Float[Tensor, "B F"]:
        """The pooled map of the last stage, before any table."""
        return self.backbone.pool(self.stages(images)[-1])

    def forward(self, images: Images, table: Table | None = None) -> Float[Tensor, "B L"]:
        """Logits, one per label.

        Args:
            images: `(B, C, *space)`, `uint8` or floats, 0 to 255.
            table: encoded clinical columns `(B, T)`; nothing is known of the patients when not given.
        """
        return self.conclude(self.stages(images)[-1], table)

    def conclude(self, last: StageMap, table: Table | None = None) -> Float[Tensor, "B L"]:
        """From the map of the last stage to the logits; `table` as for `forward`."""
        if self.clinical is not None:
            last = self.clinical.fusion.modulate(last, self._rows(self.clinical, table, len(last)))
        return self.answer(self.backbone.pool(last), table)

    def answer(self, features: Float[Tensor, "B F"], table: Table | None = None) -> Float[Tensor, "B L"]:
        """From pooled features to the logits; `table` as for `forward`."""
        if self.clinical is None:
            return self.head(features)
        rows, fusion = self._rows(self.clinical, table, len(features)), self.clinical.fusion
        return fusion.add(self.head(fusion.join(features, rows)), rows)

    def answers(self, images: Images, table: Table | None = None) -> Answers:
        """Logits, and whatever else of the network is trained along: for the training loss."""
        images, table = self._hidden(images, table)
        taken = self.stem(self.normalise(images))
        with watching_gates() as gates:
            stages = self._with_missing(self.backbone.stages(taken), images)
        side = self.backbone.auxiliary(stages)
        auxiliary = () if side is None else ((side, _AUXILIARY_WEIGHT),)
        exits = tuple((found(stages[stage]), self.exit_weight) for stage, found in self.exits_by_stage().items())
        logits, penalty = self.conclude(stages[-1], table), self.backbone.penalty(gates, taken)
        if self.exit_matching and exits:
            taught = torch.stack([found for found, _ in exits]).float() - logits.detach().float()
            matching = self.exit_matching * taught.square().mean(dim=(1, 2)).sum()
            penalty = matching if penalty is None else penalty + matching
        return Answers(logits, (*auxiliary, *exits), penalty, self.backbone.pool(stages[-1]))

    def exits_by_stage(self) -> dict[int, Exit]:
        """Exits by the index of the stage that each comes after, in order of work."""
        return {
            int(name.removeprefix("stage")) - 1: part for name, part in self.exits.items() if isinstance(part, Exit)
        }

    def until(self, name: str) -> Classifier:
        """The classifier that an early answer is the answer of, with the same weights: for explaining it.

        Args:
            name: of the exit, for example `stage2`.

        Raises:
            SettingsError: there is no such exit.
        """
        if name not in self.exits:
            raise SettingsError(f"no exit {name!r}", where="classifier", fix=nearest(name, self.exits))
        part = self.exits[name]
        assert isinstance(part, Exit)
        shortened = Shortened(self.backbone, int(name.removeprefix("stage")), part)
        return (
            Classifier(shortened, part.fc, self.mean.tolist(), self.std.tolist())
            .to(self.mean.device)
            .train(self.training)
        )

    def _with_missing(self, maps: tuple[StageMap, ...], images: Images) -> tuple[StageMap, ...]:
        """The last map is 0 where there is a table to answer and the image is missing."""
        if self.clinical is None:
            return maps
        return (*maps[:-1], maps[-1] * seen(images).view(-1, *[1] * (maps[-1].ndim - 1)))

    def _rows(self, clinical: ClinicalInput, table: Table | None, count: int) -> Table:
        return clinical.rows(self.assumed if table is None else table, count)

    def _present(self, images: Images) -> Bool[Tensor, "B M"]:
        return (images.unflatten(1, (self.modalities, -1)).flatten(2) != 0).any(dim=2)

    def _hidden(self, images: Images, table: Table | None) -> tuple[Images, Table | None]:
        """A training batch in which some inputs of some rows are missing, so that the network learns to do without."""
        if self.training and self.modalities > 1 and self.modality_dropout:
            there = self._present(images)
            kept = there & (torch.rand(there.shape, device=images.device) >= self.modality_dropout)
            kept = torch.where(kept.any(dim=1, keepdim=True), kept, there)
            parts = images.unflatten(1, (self.modalities, -1))
            images = (parts * kept.view(*kept.shape, *[1] * (parts.ndim - 2))).flatten(1, 2)
        if self.training and self.clinical is not None:
            return self.clinical.hidden(images, table)
        return images, table


def build_classifier(
    options: ModelOptions,
    *,
    labels: Sequence[str],
    channels: int,
    dims: int,
    modalities: int = 1,
    encoding: TableEncoding | None = None,
) -> Classifier:
    """Assemble a classifier with weights from `options.weights`, or freshly drawn from torch's global generator.

    Args:
        options: which backbone and head.
        labels: names of the logits, in order.
        channels: channels of the images, all modalities together.
        dims: 2 for images, 3 for volumes.
        modalities: images of one patient that the channels hold side by side.
        encoding: of the clinical columns, where the options name some.

    Raises:
        SettingsError: unknown name or option, parts that do not fit together, or weights of another network.
        BundleError: the weights cannot be read.
    """
    name, backbone_options = _split(options.backbone)
    if backbone_options.get("num_classes"):
        fix = "Leave num_classes away: the head gives the logits."
        raise SettingsError("a last layer of its own", where=f"backbone {name!r}", fix=fix)
    if (auxiliary := backbone_options.get("auxiliary_classes", 0)) not in (0, len(labels)):
        found, expected = f"auxiliary_classes = {auxiliary}", f"0 or {len(labels)}, the number of labels"
        raise SettingsError(found, where=f"backbone {name!r}", expected=expected)
    stem, width, shares, dropout = _stem(options, modalities, channels, dims)
    backbones: list[Backbone] = []
    for _ in range(shares):
        one: Backbone = BACKBONES.build(name, backbone_options, in_channels=width // shares, dims=dims)
        if options.weights is not None:
            load_weights(one, options.weights, sha256=options.weights_sha256)
        backbones.append(one)
    backbone = backbones[0] if shares == 1 else SideBySide(backbones)
    head_name, head_options = _split(options.head)
    head = HEADS.build(head_name, head_options, in_features=backbone.feature_dim, n_labels=len(labels))
    mean = _per_channel("mean", options.mean, channels, _IMAGENET_MEAN if channels == 3 else _GREY_MEAN)
    std = _per_channel("std", options.std, channels, _IMAGENET_STD if channels == 3 else _GREY_STD)
    clinical = _clinical(options, encoding, backbone.feature_dim, len(labels))
    if (modalities > 1 or clinical is not None) and (options.exits.after or backbone_options.get("gate_target")):
        fix = "Leave [model.exits] and gate_target away."
        raise SettingsError("exits or gates in a network of several inputs", where="model", fix=fix)
    return Classifier(
        backbone,
        head,
        mean,
        std,
        build_exits(options.exits, backbone, name, len(labels), dims),
        options.exits.weight,
        exit_matching=options.exits.matching,
        clinical=clinical,
        stem=stem,
        modalities=modalities,
        modality_dropout=dropout,
    )


def _stem(options: ModelOptions, modalities: int, channels: int, dims: int) -> tuple[nn.Module | None, int, int, float]:
    """What stands before the backbone, the channels it gives, how many backbones share them, and the dropout."""
    if modalities == 1:
        if options.stem is not None:
            fix = "Name the images of a patient in recipe.modalities, or leave the section away."
            raise SettingsError("a stem for one image per patient", where="model.stem", fix=fix)
        return None, channels, 1, 0.0
    name, given = _split(options.stem or {"name": "channels"})
    chosen = STEMS.options(name, given)
    assert isinstance(chosen, StemOptions)
    built = STEMS.build(name, chosen, modalities=modalities, channels=channels // modalities, dims=dims)
    return (*built, chosen.dropout)


def _clinical(
    options: ModelOptions, encoding: TableEncoding | None, feature_dim: int, n_labels: int
) -> ClinicalInput | None:
    if options.clinical is None:
        return None
    if encoding is None:
        expected = f"the encoding of {', '.join(options.clinical.columns)}"
        raise SettingsError("clinical columns without an encoding", where="model.clinical", expected=expected)
    name, given = _split(options.fusion or {"name": "film"})
    fusion = FUSIONS.build(name, given, feature_dim=feature_dim, table_dim=encoding.width, n_labels=n_labels)
    return ClinicalInput(fusion, encoding.nothing(), options.clinical.table_dropout, options.clinical.image_dropout)


def _split(part: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    rest = dict(part)
    return rest.pop("name"), rest


def _per_channel(
    key: str, given: tuple[float, ...] | None, channels: int, default: tuple[float, ...]
) -> tuple[float, ...]:
    values = default if given is None else given
    if len(values) not in (1, channels):
        raise SettingsError(f"{key} has {len(values)} values", where="model", expected=f"1 or {channels}, the channels")
    return values if len(values) == channels else values * channels

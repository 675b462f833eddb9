"""Backbone and head as one module that takes images as they are stored: 0 to 255, normalised inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from jaxtyping import Float, Shaped
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from resight.backbones import BACKBONES, Backbone, load_weights
from resight.backbones.base import StageMap
from resight.blocks import watching_gates
from resight.errors import SettingsError, nearest
from resight.heads import HEADS
from resight.models.exits import Exit, ExitOptions, Shortened, build_exits
from resight.settings import Options

Images = Shaped[Tensor, "B C *space"]

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

    @field_validator("backbone", "head")
    @classmethod
    def _named(cls, part: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        usual = {"backbone": "resnet", "head": "linear"}[str(info.field_name)]
        named = {"name": usual, **part}
        if not isinstance(named["name"], str):
            raise ValueError("a key `name` with the name of a member")
        return named

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
        for part, registry in (("backbone", BACKBONES), ("head", HEADS)):
            name, given = _split(getattr(self, part))
            parts[part] = {"name": name, **registry.options(name, given).model_dump(mode="json")}
        return self.model_copy(update=parts)


@dataclass(frozen=True)
class Answers:
    """What a network says of a batch while it is trained.

    Attributes:
        logits: `(B, L)`.
        auxiliary: logits of side branches that are trained along, each with the weight of its loss.
        penalty: scalar that the network itself adds to the loss, for example for work that it did not skip.
    """

    logits: Float[Tensor, "B L"]
    auxiliary: tuple[tuple[Float[Tensor, "B L"], float], ...] = ()
    penalty: Float[Tensor, ""] | None = None


class Classifier(nn.Module):
    """Images on the scale 0 to 255 in, logits out.

    Args:
        backbone: images to features.
        head: features to logits.
        mean: per channel, in [0, 1]; kept as a buffer, so that it travels with the weights.
        std: per channel, in [0, 1].
        exits: `Exit` by name of the stage it comes after, in order of work.
        exit_weight: of each exit's loss.
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
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.exits = nn.ModuleDict() if exits is None else exits
        self.exit_weight = exit_weight
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32))

    def normalise(self, images: Images) -> Float[Tensor, "B C *space"]:
        """Images 0 to 255, of any type, to what the backbone takes; `float32` before autocast."""
        shape = (1, -1, *[1] * (images.ndim - 2))
        scale, shift = 1.0 / (255.0 * self.std), self.mean / self.std
        return images.to(scale.dtype) * scale.view(shape) - shift.view(shape)

    def stages(self, images: Images) -> tuple[StageMap, ...]:
        """Feature maps of all stages of the backbone, finest first."""
        return self.backbone.stages(self.normalise(images))

    def features(self, images: Images) -> Float[Tensor, "B F"]:
        """What the head takes."""
        return self.backbone.pool(self.stages(images)[-1])

    def forward(self, images: Images) -> Float[Tensor, "B L"]:
        """Logits, one per label.

        Args:
            images: `(B, C, *space)`, `uint8` or floats, 0 to 255.
        """
        return self.head(self.features(images))

    def answers(self, images: Images) -> Answers:
        """Logits, and whatever else of the network is trained along: for the training loss."""
        normalised = self.normalise(images)
        with watching_gates() as gates:
            stages = self.backbone.stages(normalised)
        side = self.backbone.auxiliary(stages)
        auxiliary = () if side is None else ((side, _AUXILIARY_WEIGHT),)
        exits = tuple((found(stages[stage]), self.exit_weight) for stage, found in self.exits_by_stage().items())
        logits = self.head(self.backbone.pool(stages[-1]))
        return Answers(logits, (*auxiliary, *exits), self.backbone.penalty(gates, normalised))

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


def build_classifier(options: ModelOptions, *, labels: Sequence[str], channels: int, dims: int) -> Classifier:
    """Assemble a classifier with weights from `options.weights`, or freshly drawn from torch's global generator.

    Args:
        options: which backbone and head.
        labels: names of the logits, in order.
        channels: channels of the images.
        dims: 2 for images, 3 for volumes.

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
    backbone: Backbone = BACKBONES.build(name, backbone_options, in_channels=channels, dims=dims)
    if options.weights is not None:
        load_weights(backbone, options.weights, sha256=options.weights_sha256)
    head_name, head_options = _split(options.head)
    head = HEADS.build(head_name, head_options, in_features=backbone.feature_dim, n_labels=len(labels))
    mean = _per_channel("mean", options.mean, channels, _IMAGENET_MEAN if channels == 3 else _GREY_MEAN)
    std = _per_channel("std", options.std, channels, _IMAGENET_STD if channels == 3 else _GREY_STD)
    exits = build_exits(options.exits, backbone, name, len(labels), dims)
    return Classifier(backbone, head, mean, std, exits, options.exits.weight)


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

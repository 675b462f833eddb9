"""Classifiers after earlier stages, so that an easy image needs no later one (Teerapittayanon et al. 2016).

Exits may be taught by the last classifier of the same network (Zhang et al. 2019, section 3.2), here by the squared
distance of logits (Ba and Caruana 2014, equation 1), which is the same for every kind of classification.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from pydantic import Field, field_validator
from torch import Tensor, nn

from resight.backbones import Backbone
from resight.backbones.base import StageMap
from resight.blocks import CONV, Norm, build_norm
from resight.errors import SettingsError, nearest
from resight.settings import Options


class ExitOptions(Options):
    """Classifiers after earlier stages, trained together with the last one."""

    after: tuple[str, ...] = Field(
        default=(), description="stages that get a classifier of their own: stage1, stage2, ... but the last"
    )
    weight: float = Field(default=0.5, gt=0, description="of each exit's loss, beside 1 of the last classifier")
    matching: float = Field(
        default=0.0,
        ge=0,
        description="weight of the squared distance of each exit's logits from those of the last classifier, which "
        "teaches the exits without being moved by them",
    )
    norm: Norm = Field(default="batch", description="normalisation in the exits")

    @field_validator("after")
    @classmethod
    def _in_order(cls, after: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(after)) < len(after):
            raise ValueError("every stage once")
        return tuple(sorted(after))

    def stages(self, backbone: Backbone, name: str) -> tuple[int, ...]:
        """Index of the stage before each exit, rising.

        Args:
            backbone: that is to be left.
            name: what it is called in messages.

        Raises:
            SettingsError: there is no such stage, or the backbone cannot be left between stages.
        """
        known = tuple(f"stage{index + 1}" for index in range(len(backbone.stage_dims)))
        where = "model.exits.after"
        for exit_name in self.after:
            if exit_name not in known[:-1]:
                last = f"{exit_name!r} has the model's head" if exit_name in known else f"no stage {exit_name!r}"
                raise SettingsError(
                    last, where=where, expected=", ".join(known[:-1]), fix=nearest(exit_name, known[:-1])
                )
        if self.after and not backbone.steps():
            fix = "Use 'resnet'."
            raise SettingsError(f"backbone {name!r} cannot be left between stages", where=where, fix=fix)
        return tuple(known.index(exit_name) for exit_name in self.after)


class Exit(nn.Module):
    """One strided 3x3 convolution that turns a stage's map to what classifying needs, its mean, and a linear layer.

    Args:
        channels: of the stage's map.
        n_labels: L.
        dims: spatial dimensions.
        norm: after the convolution.
    """

    def __init__(self, channels: int, n_labels: int, dims: int, norm: Norm) -> None:
        super().__init__()
        self.conv = CONV[dims](channels, channels, 3, stride=2, padding=1, bias=False)
        self.norm = build_norm(norm, channels, dims)
        self.relu = nn.ReLU()
        self.fc = nn.Linear(channels, n_labels)

    def features(self, stage: StageMap) -> Float[Tensor, "B F"]:
        """What the linear layer takes."""
        return self.relu(self.norm(self.conv(stage))).mean(dim=tuple(range(2, stage.ndim)))

    def forward(self, stage: StageMap) -> Float[Tensor, "B L"]:
        """Logits."""
        return self.fc(self.features(stage))


class Shortened(Backbone):
    """The stages of a backbone up to one that has an exit; its feature vector is the exit's.

    Args:
        backbone: with steps.
        stages: how many are kept.
        exit_: after the last of them.
    """

    pools_by_mean = False

    def __init__(self, backbone: Backbone, stages: int, exit_: Exit) -> None:
        super().__init__(stage_dims=backbone.stage_dims[:stages], feature_dim=backbone.stage_dims[stages - 1])
        self.whole, self.exit = backbone, exit_

    def steps(self) -> tuple[Callable[[StageMap], StageMap], ...]:
        """The first steps of the whole backbone."""
        return self.whole.steps()[: len(self.stage_dims)]

    def _stages(self, images: Float[Tensor, "B C *space"]) -> tuple[StageMap, ...]:
        maps: list[Tensor] = []
        for step in self.steps():
            maps.append(step(maps[-1] if maps else images))
        return tuple(maps)

    def pool(self, last: StageMap) -> Float[Tensor, "B F"]:
        """The exit's feature vector."""
        return self.exit.features(last)

    def top(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """The exit's logits."""
        return self.exit.fc(features)


def build_exits(options: ExitOptions, backbone: Backbone, name: str, n_labels: int, dims: int) -> nn.ModuleDict:
    """One `Exit` a stage named in the options, by the stage's name in order of work.

    Raises:
        SettingsError: as `ExitOptions.stages`.
    """
    return nn.ModuleDict(
        {
            f"stage{index + 1}": Exit(backbone.stage_dims[index], n_labels, dims, options.norm)
            for index in options.stages(backbone, name)
        }
    )

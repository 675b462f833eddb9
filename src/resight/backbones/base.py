"""The promise of a backbone: images in, every stage's feature map and one feature vector out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from jaxtyping import Float
from torch import Tensor, nn

from resight.errors import SettingsError
from resight.registry import Registry

StageMap = Float[Tensor, "B C *space"]


class Backbone(nn.Module, ABC):
    """Base of all backbones.

    Attributes:
        stage_dims: channels of each map that `stages` returns.
        feature_dim: F, length of the feature vector.
        min_size_px: shortest side of an image the layers can take.
        pools_by_mean: whether `pool` is the mean over space, so that a linear head after it can be read as a map.
        stages_are_a_chain: whether each stage's map is computed from the one before, so that gradients reach it.
    """

    min_size_px: int = 1
    pools_by_mean: bool = True
    stages_are_a_chain: bool = True

    def __init__(self, *, stage_dims: tuple[int, ...], feature_dim: int) -> None:
        super().__init__()
        self.stage_dims = stage_dims
        self.feature_dim = feature_dim

    def stages(self, images: Float[Tensor, "B C *space"]) -> tuple[StageMap, ...]:
        """Feature maps of all stages, finest first; the last one is what `pool` takes.

        Raises:
            SettingsError: the images are smaller than the layers can take.
        """
        if min(images.shape[2:]) < self.min_size_px:
            size = "x".join(map(str, images.shape[2:]))
            expected = f"{self.min_size_px} pixels or more"
            raise SettingsError(f"images of {size} pixels", where=type(self).__name__, expected=expected)
        return self._stages(images)

    def pool(self, last: StageMap) -> Float[Tensor, "B F"]:
        """The feature vector of the last stage's map."""
        return last.mean(dim=tuple(range(2, last.ndim)))

    @abstractmethod
    def top(self, features: Float[Tensor, "B F"]) -> Float[Tensor, "B K"]:
        """Class scores where the backbone carries its own last layer, otherwise the features as they are."""

    @property
    def published(self) -> nn.Module:
        """The part that published weights are for: the whole, or the network that a wrapping backbone carries."""
        return self

    def auxiliary(self, stages: tuple[StageMap, ...]) -> Float[Tensor, "B K"] | None:
        """Logits of a side branch that is trained along, where the architecture has one."""

    def steps(self) -> tuple[Callable[[StageMap], StageMap], ...]:
        """What makes each stage's map of the one before it, and the first of the images.

        Empty where the architecture cannot be left between stages.
        """
        return ()

    def penalty(
        self, gates: Sequence[Float[Tensor, " B"]], images: Float[Tensor, "B C *space"]
    ) -> Float[Tensor, ""] | None:
        """What a backbone with gates adds to the loss for work it did not skip; None where it has none.

        Args:
            gates: probability of every gate in the pass that was just made (`resight.blocks.watching_gates`).
            images: what the pass was made of.
        """
        del gates, images

    def forward(self, images: Float[Tensor, "B C *space"]) -> Float[Tensor, "B F"]:
        """Features, or class scores where the backbone was built with `num_classes`."""
        return self.top(self.pool(self.stages(images)[-1]))

    @abstractmethod
    def _stages(self, images: Float[Tensor, "B C *space"]) -> tuple[StageMap, ...]: ...


class BackboneBuilder(Protocol):
    """Builds a backbone; `options` is an instance of the class the member was registered with.

    Weights are drawn from torch's global generator: the same `torch.manual_seed` gives the same backbone.
    """

    def __call__(self, options: Any, /, *, in_channels: int, dims: int) -> Backbone:
        """Build the backbone with freshly drawn weights."""
        ...


BACKBONES: Registry[BackboneBuilder] = Registry("backbone", "resight.backbones")


def build_backbone(name: str, *, dims: int = 2, in_channels: int = 3, **options: Any) -> Backbone:
    """Build a backbone by name.

    Args:
        name: registered name, for example `"resnet"`.
        dims: 2 for images, 3 for volumes.
        in_channels: channels of the images.
        **options: the member's options, for example `depth=50`.

    Raises:
        SettingsError: unknown name, unknown option, impossible value, or a backbone that is for images only.
    """
    if dims not in (2, 3):
        raise SettingsError(f"dims = {dims}", where=f"backbone {name!r}", expected="2 or 3")
    return BACKBONES.build(name, options, in_channels=in_channels, dims=dims)


def require_2d(name: str, dims: int) -> None:
    """Refuse volumes for an architecture that is for images.

    Raises:
        SettingsError: `dims` is not 2.
    """
    if dims != 2:
        fix = "Use 'resnet' for volumes."
        raise SettingsError(f"dims = {dims}", where=f"backbone {name!r}", expected="2", fix=fix)

"""What a network's own attention layers let through: their gates, and the map of the places they weigh.

The gates are no evidence for a label: they are the same for all labels, and come before the layers that decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from resight.backbones import Backbone
from resight.blocks import AttentionLayer, Gates, ResidualUnit, over_space
from resight.errors import SettingsError
from resight.explain.activation import StageOptions, enlarged
from resight.explain.base import EXPLAINERS, Explainer, Logits, Maps
from resight.models import Classifier


class AttentionOptions(StageOptions):
    """The network's own attention: gates of places, or the strength of the channels it lets through."""

    unit: int = Field(default=-1, description="attention layer of the stage: 0 the first, -1 the last")


@EXPLAINERS.register("attention", AttentionOptions)
class Attention(Explainer):
    """The gate of each place where the layer has one (CBAM), otherwise its gated channels' mean strength (SE, ECA).

    All labels of an image get the same map, which is 0 where a gate left the layer's unit out.

    Args:
        options: stage and layer.
    """

    def __init__(self, options: AttentionOptions) -> None:
        self.options = options

    def _explain(self, classifier: Classifier, images: Float[Tensor, "B C *space"]) -> tuple[Logits, Maps]:
        layer = self._layer(classifier.backbone)
        with torch.no_grad():
            logits, (seen,) = _seen_by(classifier, images, (layer,))
            gates = layer.gates(seen.maps)
            if gates.places is None:
                weights = over_space(gates.channels, seen.maps)
                places = (weights * seen.maps.abs()).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)
            else:
                places = gates.places
            places = places * over_space(seen.there, places)
        return logits, enlarged(places, images).expand(-1, logits.shape[1], *images.shape[2:]).contiguous()

    def _layer(self, backbone: Backbone) -> AttentionLayer:
        stages = _attention_by_stage(backbone)
        stage, unit, where = self.options.stage, self.options.unit, type(backbone).__name__
        if not -len(stages) <= stage < len(stages):
            raise SettingsError(f"stage = {stage}", where=where, expected=f"{-len(stages)} to {len(stages) - 1}")
        layers = stages[stage]
        if not layers:
            fix = "Choose another stage, or train with `attention` in [model.backbone]."
            raise SettingsError(f"stage {stage} has no attention layer", where=where, fix=fix)
        if not -len(layers) <= unit < len(layers):
            raise SettingsError(f"unit = {unit}", where=where, expected=f"{-len(layers)} to {len(layers) - 1}")
        return layers[unit]


def attention_gates(classifier: Classifier, images: Float[Tensor, "B C *space"]) -> dict[str, Gates]:
    """The gates of every attention layer for these images, by the layer's name in the backbone, in order of work.

    They are 0 for an image whose unit a gate left out (`gate_target`): nothing of it went through.

    Args:
        classifier: in evaluation mode.
        images: `(B, C, *space)` from 0 to 255.

    Raises:
        SettingsError: the backbone shows its network parts of an image, so that a layer is asked several times.
    """
    if classifier.backbone.published is not classifier.backbone:
        where, fix = type(classifier.backbone).__name__, "Ask for a slice or a window by itself."
        raise SettingsError("gates of a network that sees parts of an image", where=where, fix=fix)
    named = {name: m for name, m in classifier.backbone.named_modules() if isinstance(m, AttentionLayer)}
    with torch.no_grad():
        _, seen = _seen_by(classifier, images, tuple(named.values()))
        return {name: _let_through(layer, part) for (name, layer), part in zip(named.items(), seen, strict=True)}


@dataclass(frozen=True)
class _Seen:
    """The maps that a layer was given, and which images it was asked for: 0 maps where a gate left its unit out."""

    maps: Float[Tensor, "B C *space"]
    there: Bool[Tensor, " B"]


def _let_through(layer: AttentionLayer, seen: _Seen) -> Gates:
    gates = layer.gates(seen.maps)
    places = None if gates.places is None else gates.places * over_space(seen.there, gates.places)
    return Gates(gates.channels * over_space(seen.there, gates.channels), places)


def _seen_by(
    classifier: Classifier, images: Float[Tensor, "B C *space"], layers: tuple[AttentionLayer, ...]
) -> tuple[Logits, list[_Seen]]:
    """Logits, and what each layer saw."""
    units = {u.attention: u for u in classifier.backbone.modules() if isinstance(u, ResidualUnit)}
    given: dict[nn.Module, Tensor] = {}

    def keep_input(part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given[part] = inputs[0]

    def keep_output(part: nn.Module, _: object, output: Tensor) -> None:
        given[part] = output

    hooks = [layer.register_forward_pre_hook(keep_input) for layer in layers]
    watched = [part for layer in layers for part in (units[layer], units[layer].gate) if part is not None]
    hooks += [part.register_forward_hook(keep_output) for part in watched]
    try:
        logits = classifier(images)
    finally:
        for hook in hooks:
            hook.remove()
    found: list[_Seen] = []
    for layer in layers:
        output, gate = given[units[layer]], units[layer].gate
        there = given[gate] if gate is not None else output.new_ones(len(output), dtype=torch.bool)
        maps = torch.zeros_like(output)
        if there.any():
            maps[there] = given[layer].to(maps.dtype)
        found.append(_Seen(maps, there))
    return logits, found


def _attention_by_stage(backbone: Backbone) -> list[list[AttentionLayer]]:
    """Attention layers of each stage; a backbone that is not made of stage modules has none."""
    stages = getattr(backbone, "layers", ())
    found = [[part for part in stage.modules() if isinstance(part, AttentionLayer)] for stage in stages]
    return found or [[] for _ in backbone.stage_dims]

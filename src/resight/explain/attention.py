"""What a network's own attention layers let through: their gates, and the map of the places they weigh.

The gates are no evidence for a label: they are the same for all labels, and come before the layers that decide.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from resight.backbones import Backbone
from resight.blocks import AttentionLayer, Gates, over_space
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

    All labels of an image get the same map.

    Args:
        options: stage and layer.
    """

    def __init__(self, options: AttentionOptions) -> None:
        self.options = options

    def _explain(self, classifier: Classifier, images: Float[Tensor, "B C *space"]) -> tuple[Logits, Maps]:
        layer = self._layer(classifier.backbone)
        with torch.no_grad():
            logits, seen = _seen_by(classifier, images, (layer,))
            gates = layer.gates(seen[0])
            if gates.places is None:
                weights = over_space(gates.channels, seen[0])
                places = (weights * seen[0].abs()).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)
            else:
                places = gates.places
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

    Args:
        classifier: in evaluation mode.
        images: `(B, C, *space)` from 0 to 255.
    """
    named = {name: m for name, m in classifier.backbone.named_modules() if isinstance(m, AttentionLayer)}
    with torch.no_grad():
        _, seen = _seen_by(classifier, images, tuple(named.values()))
        return {name: layer.gates(maps) for (name, layer), maps in zip(named.items(), seen, strict=True)}


def _seen_by(
    classifier: Classifier, images: Float[Tensor, "B C *space"], layers: tuple[AttentionLayer, ...]
) -> tuple[Logits, list[Tensor]]:
    """Logits, and the map that each layer was given."""
    seen: dict[AttentionLayer, Tensor] = {}
    hooks = [layer.register_forward_pre_hook(lambda layer, maps: seen.update({layer: maps[0]})) for layer in layers]
    try:
        logits = classifier(images)
    finally:
        for hook in hooks:
            hook.remove()
    return logits, [seen[layer] for layer in layers]


def _attention_by_stage(backbone: Backbone) -> list[list[AttentionLayer]]:
    """Attention layers of each stage; a backbone that is not made of stage modules has none."""
    stages = getattr(backbone, "layers", ())
    found = [[part for part in stage.modules() if isinstance(part, AttentionLayer)] for stage in stages]
    return found or [[] for _ in backbone.stage_dims]

"""Array to features: the residual network and the architectures it is compared with."""

from resight.backbones.base import BACKBONES, Backbone, BackboneBuilder, build_backbone

__all__ = ["BACKBONES", "Backbone", "BackboneBuilder", "build_backbone"]

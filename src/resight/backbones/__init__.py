"""Array to features: the residual network and the architectures it is compared with."""

from resight.backbones.base import BACKBONES, Backbone, BackboneBuilder, build_backbone
from resight.backbones.side_by_side import SideBySide
from resight.backbones.weights import WeightReport, load_weights, save_weights
from resight.backbones.work import UnitWork, Work, measure_work

__all__ = [
    "BACKBONES",
    "Backbone",
    "BackboneBuilder",
    "SideBySide",
    "UnitWork",
    "WeightReport",
    "Work",
    "build_backbone",
    "load_weights",
    "measure_work",
    "save_weights",
]

"""The assembled classifier, the folder it is kept in, and its plain face for paths and arrays."""

from resight.models.classifier import Classifier, ModelOptions, build_classifier
from resight.models.device import autocast, channels_last, choose_device, with_channels_last

__all__ = [
    "Classifier",
    "ModelOptions",
    "autocast",
    "build_classifier",
    "channels_last",
    "choose_device",
    "with_channels_last",
]

"""The assembled classifier, the folder it is kept in, and its plain face for paths and arrays."""

from resight.models.bundle import Bundle, load_bundle, save_bundle, verify_bundle
from resight.models.card import render_card
from resight.models.classifier import Answers, Classifier, ModelOptions, build_classifier
from resight.models.device import Device, Precision, autocast, channels_last, choose_device, with_channels_last
from resight.models.ensemble import Ensemble
from resight.models.manifest import Manifest
from resight.models.predictor import Predictor
from resight.models.views import N_VIEWS, AveragedViews, view

load = Predictor.load

__all__ = [
    "N_VIEWS",
    "Answers",
    "AveragedViews",
    "Bundle",
    "Classifier",
    "Device",
    "Ensemble",
    "Manifest",
    "ModelOptions",
    "Precision",
    "Predictor",
    "autocast",
    "build_classifier",
    "channels_last",
    "choose_device",
    "load",
    "load_bundle",
    "render_card",
    "save_bundle",
    "verify_bundle",
    "view",
    "with_channels_last",
]

"""The assembled classifier, the folder it is kept in, and its plain face for paths and arrays."""

from resight.models.build import build_classifier
from resight.models.bundle import Bundle, load_bundle, save_bundle, verify_bundle
from resight.models.card import render_card
from resight.models.choice import Choice, EngineName, WantedPrecision, choose_engine
from resight.models.classifier import Answers, Classifier
from resight.models.device import Device, Precision, autocast, channels_last, choose_device, with_channels_last
from resight.models.engine import ENGINES, Engine, EnginePrecision, TorchEngine
from resight.models.ensemble import Ensemble
from resight.models.export import export_bundle
from resight.models.exported import ExportRecord, list_exports, read_export
from resight.models.features import image_features
from resight.models.manifest import Manifest
from resight.models.model_options import ModelOptions
from resight.models.novelty import Novelty
from resight.models.predictor import Predictor, named_sources
from resight.models.several import Doubt, several_answers
from resight.models.sources import Named, Source, Unnamed
from resight.models.views import N_VIEWS, AveragedViews, view

load = Predictor.load

__all__ = [
    "ENGINES",
    "N_VIEWS",
    "Answers",
    "AveragedViews",
    "Bundle",
    "Choice",
    "Classifier",
    "Device",
    "Doubt",
    "Engine",
    "EngineName",
    "EnginePrecision",
    "Ensemble",
    "ExportRecord",
    "Manifest",
    "ModelOptions",
    "Named",
    "Novelty",
    "Precision",
    "Predictor",
    "Source",
    "TorchEngine",
    "Unnamed",
    "WantedPrecision",
    "autocast",
    "build_classifier",
    "channels_last",
    "choose_device",
    "choose_engine",
    "export_bundle",
    "image_features",
    "list_exports",
    "load",
    "load_bundle",
    "named_sources",
    "read_export",
    "render_card",
    "save_bundle",
    "several_answers",
    "verify_bundle",
    "view",
    "with_channels_last",
]

"""Resight: from a folder of medical images to a ResNet classifier that can be trusted and deployed.

Names are imported when they are first used, so that `import resight` is fast and needs neither torch nor pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resight import errors
    from resight.backbones import build_backbone
    from resight.evaluation import evaluate
    from resight.imaging import read as read_image
    from resight.models import load
    from resight.predictions import Predictions
    from resight.types import Image

__all__ = ["Image", "Predictions", "build_backbone", "errors", "evaluate", "load", "read_image"]

_HOMES = {
    "Image": ("resight.types", "Image"),
    "Predictions": ("resight.predictions", "Predictions"),
    "build_backbone": ("resight.backbones", "build_backbone"),
    "evaluate": ("resight.evaluation", "evaluate"),
    "load": ("resight.models", "load"),
    "read_image": ("resight.imaging", "read"),
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("resight.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'resight' has no attribute {name!r}")
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

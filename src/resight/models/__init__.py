"""The assembled classifier, the folder it is kept in, and its plain face for paths and arrays."""

from resight.models.classifier import Classifier, ModelOptions, build_classifier

__all__ = ["Classifier", "ModelOptions", "build_classifier"]

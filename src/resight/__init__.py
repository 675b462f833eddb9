"""Resight: from a folder of medical images to a ResNet classifier that can be trusted and deployed."""

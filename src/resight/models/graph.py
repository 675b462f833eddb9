"""A network as one ONNX graph, and the artificial images on which two engines are compared."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import nn

from resight.errors import BundleError, require
from resight.models.engine import PreparedImages

N_PROBES: Final = 8
_BLOCK_PX: Final = 8
_EXPORTER_LOG: Final = "torch.onnx"


def write_graph(network: nn.Module, shape: tuple[int, ...], path: Path) -> None:
    """Write a network as ONNX in float32, for any number of images at a time.

    Args:
        network: in evaluation mode, on the CPU; `uint8` images `(B, *shape)` to logits `(B, L)`.
        shape: of one prepared image.
        path: where to.

    Raises:
        DependencyError: the exporter is not installed.
        BundleError: what the network computes depends on the image in a way that one graph cannot hold.
    """
    for library in ("onnx", "onnxscript"):
        require(library, extra="export")
    example = torch.zeros((2, *shape), dtype=torch.uint8)
    log = logging.getLogger(_EXPORTER_LOG)
    before = log.level
    log.setLevel(logging.ERROR)  # it warns that torchvision is not installed
    try:
        with warnings.catch_warnings():
            # torch 2.13 calls a function of its own that it declares outdated.
            warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
            torch.onnx.export(
                network,
                (example,),
                path,
                dynamo=True,
                external_data=False,
                verbose=False,
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        found = f"the network cannot be written as one graph ({reason})"
        raise BundleError(found, fix="Use it with PyTorch.") from error
    finally:
        log.setLevel(before)


def probe_images(shape: tuple[int, ...], count: int = N_PROBES) -> PreparedImages:
    """Images of coloured blocks with a little noise, the same on every machine.

    Args:
        shape: of one image: channels, then space.
        count: how many.
    """
    rng = np.random.default_rng(0)
    channels, *space = shape
    coarse = rng.integers(0, 256, (count, channels, *(-(-size // _BLOCK_PX) for size in space)))
    for axis, size in enumerate(space, start=2):
        coarse = coarse.repeat(_BLOCK_PX, axis=axis).take(range(size), axis=axis)
    return np.clip(coarse + rng.integers(-8, 9, coarse.shape), 0, 255).astype(np.uint8)

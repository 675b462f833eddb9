"""What computes logits: PyTorch itself, or the network exported as one graph for another engine.

An exported engine lives in one file of this room and registers itself; everything between a file and the network's
input, and everything after the logits, is the same for all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import nn

from resight.models.device import Precision, autocast, channels_last, with_channels_last
from resight.registry import Registry
from resight.settings import Options
from resight.types import PreparedImage, Scores

PreparedImages = UInt8[np.ndarray, "B C *space"]
EnginePrecision = Literal["fp32", "bf16", "int8"]


class Engine(Protocol):
    """Prepared images to logits."""

    name: str
    precision: EnginePrecision

    def logits(self, prepared: PreparedImages) -> Scores:
        """Logits `(B, L)`, `float64`."""
        ...


class TorchEngine:
    """The network as it was trained, run by PyTorch.

    Args:
        network: images to logits; moved to the device, its filters laid out channels last.
        device: where it runs.
        precision: number format of the forward pass.
    """

    name = "torch"

    def __init__(self, network: nn.Module, device: torch.device, precision: Precision = "fp32") -> None:
        self.network = with_channels_last(network.to(device)).eval()
        self.device = device
        self.precision: EnginePrecision = precision
        self.format: Precision = precision

    def logits(self, prepared: PreparedImages, clinical: Float[np.ndarray, "B T"] | None = None) -> Scores:
        """Logits `(B, L)` of prepared images, and of encoded clinical columns where the network reads some."""
        with torch.inference_mode(), autocast(self.format, self.device):
            inputs = [channels_last(torch.from_numpy(prepared).to(self.device))]
            if clinical is not None:
                inputs.append(torch.from_numpy(clinical).to(self.device))
            return self.network(*inputs).double().cpu().numpy()


class EngineOptions(Options):
    """How an exported engine runs."""

    threads: int | None = Field(default=None, ge=1, description="processor threads; as many as PyTorch when not given")

    def number_of_threads(self) -> int:
        """As given, or what PyTorch takes, which follows `OMP_NUM_THREADS`."""
        return self.threads or torch.get_num_threads()


class GraphEngine(ABC):
    """An engine that runs a network exported to a folder.

    Args:
        options: threads.
        folder: what `write` filled.
        precision: as it was written.

    Raises:
        DependencyError: the engine is not installed.
        BundleError: the engine cannot read what lies there.
    """

    name: ClassVar[str]
    precisions: ClassVar[dict[EnginePrecision, str]]
    """Formats it runs in, or why not."""

    @abstractmethod
    def __init__(self, options: EngineOptions, /, *, folder: Path, precision: EnginePrecision) -> None: ...

    @classmethod
    @abstractmethod
    def write(
        cls, graph: Path, folder: Path, precision: EnginePrecision, calibration: Sequence[PreparedImage]
    ) -> tuple[str, ...]:
        """Fill an empty folder with what this engine reads.

        Args:
            graph: the network as ONNX in float32, with one input `images` and one output `logits`.
            folder: where to.
            precision: one of `precisions`.
            calibration: images from which the ranges of int8 are taken; needed for int8 only.

        Returns:
            Names of the files.

        Raises:
            DependencyError: a library that writes them is not installed.
        """

    @abstractmethod
    def logits(self, prepared: PreparedImages) -> Scores:
        """Logits `(B, L)` of prepared images."""


ENGINES: Registry[Callable[..., Any]] = Registry("engine", "resight.models")

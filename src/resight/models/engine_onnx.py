"""ONNX Runtime: fp32, and int8 as QDQ graphs that NNCF calibrates."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from resight.errors import BundleError, require
from resight.models.engine import ENGINES, EngineOptions, EnginePrecision, GraphEngine, PreparedImages
from resight.models.quantise import quantised
from resight.types import PreparedImage, Scores

_FILE: Final = "model.onnx"


class OnnxOptions(EngineOptions):
    """ONNX Runtime on the CPU."""


@ENGINES.register("onnx", OnnxOptions)
class OnnxEngine(GraphEngine):
    """A graph in a session of ONNX Runtime; see `GraphEngine`."""

    name = "onnx"
    precisions: ClassVar[dict[EnginePrecision, str]] = {
        "fp32": "",
        "bf16": "ONNX Runtime has no bf16 convolutions for CPUs",
        "int8": "",
    }

    def __init__(self, options: OnnxOptions, /, *, folder: Path, precision: EnginePrecision) -> None:
        ort: Any = require("onnxruntime", extra="export")
        self.precision = precision
        session = ort.SessionOptions()
        session.intra_op_num_threads = options.number_of_threads()
        session.inter_op_num_threads = 1
        session.log_severity_level = 3
        # Threads that spin while they wait slow down whatever else runs on the machine.
        session.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(str(folder / _FILE), session, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BundleError(f"ONNX Runtime cannot read it ({_first_line(error)})", where=str(folder)) from error

    @classmethod
    def write(
        cls, graph: Path, folder: Path, precision: EnginePrecision, calibration: Sequence[PreparedImage]
    ) -> tuple[str, ...]:
        """Copy the graph, or quantise it."""
        if precision == "fp32":
            shutil.copyfile(graph, folder / _FILE)
        else:
            onnx: Any = require("onnx", extra="export")
            onnx.save(quantised(onnx.load(graph), [{"images": image[None]} for image in calibration]), folder / _FILE)
        return (_FILE,)

    def logits(self, prepared: PreparedImages) -> Scores:
        """Logits `(B, L)` of prepared images."""
        (logits,) = self._session.run(None, {"images": np.ascontiguousarray(prepared)})
        return np.asarray(logits, dtype=np.float64)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

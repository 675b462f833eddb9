"""OpenVINO: fp32, bf16 where the processor knows it, and int8 that NNCF calibrates."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from resight.errors import BundleError, require
from resight.models.engine import ENGINES, EngineOptions, EnginePrecision, GraphEngine, PreparedImages
from resight.models.quantise import quantised
from resight.types import PreparedImage, Scores

_FILES: Final = ("model.xml", "model.bin")
_HINTS: Final[dict[EnginePrecision, str]] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
"""Of the operations that are not quantised. Without a hint OpenVINO silently takes bf16 where it is faster."""


class OpenvinoOptions(EngineOptions):
    """OpenVINO on the CPU."""


@ENGINES.register("openvino", OpenvinoOptions)
class OpenvinoEngine(GraphEngine):
    """A compiled graph of OpenVINO; see `GraphEngine`."""

    name = "openvino"
    precisions: ClassVar[dict[EnginePrecision, str]] = {"fp32": "", "bf16": "", "int8": ""}

    def __init__(self, options: OpenvinoOptions, /, *, folder: Path, precision: EnginePrecision) -> None:
        openvino: Any = require("openvino", extra="export")
        core, self._tensor = openvino.Core(), openvino.Tensor
        self.precision = precision
        settings = {
            "INFERENCE_PRECISION_HINT": _HINTS[precision],
            "INFERENCE_NUM_THREADS": options.number_of_threads(),
            "NUM_STREAMS": 1,
        }
        try:
            model = core.read_model(folder / _FILES[0])
            self._for_any = core.compile_model(model, "CPU", settings).create_infer_request()
            # A single image is what a service is asked for: compiled for just one, int8 is 1.06 times as fast.
            shape = model.input(0).partial_shape
            shape[0] = 1
            model.reshape(shape)
            self._for_one = core.compile_model(model, "CPU", settings).create_infer_request()
            self._for_one.infer()  # the first call prepares memory and kernels
        except RuntimeError as error:
            # the first lines say where in OpenVINO it was noticed, the last what
            reason = ([line for line in str(error).splitlines() if line.strip()] or [""])[-1]
            raise BundleError(f"OpenVINO cannot read it ({reason})", where=str(folder)) from error
        self._one_at_a_time = threading.Lock()

    @classmethod
    def write(
        cls, graph: Path, folder: Path, precision: EnginePrecision, calibration: Sequence[PreparedImage]
    ) -> tuple[str, ...]:
        """Write OpenVINO's own format; bf16 keeps float32 weights, which the processor's kernels round."""
        openvino: Any = require("openvino", extra="export")
        model = openvino.Core().read_model(graph)
        if precision == "int8":
            model = quantised(model, [image[None] for image in calibration])
        # Left to itself it would round the weights to fp16.
        openvino.save_model(model, folder / _FILES[0], compress_to_fp16=False)
        return _FILES

    def logits(self, prepared: PreparedImages) -> Scores:
        """Logits `(B, L)` of prepared images."""
        with self._one_at_a_time:
            request = self._for_one if len(prepared) == 1 else self._for_any
            images = np.ascontiguousarray(prepared)
            # Handed over as a tensor: to find out what kind of array it was given costs OpenVINO 0.3 ms.
            request.set_input_tensor(self._tensor(images, shared_memory=True))
            request.infer()
            return np.array(request.get_output_tensor().data, dtype=np.float64)

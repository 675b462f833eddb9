"""Ranges of int8 numbers from images (Jacob et al. 2018, section 3), by NNCF."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

from resight.errors import BundleError, require


def quantised(model: Any, inputs: Sequence[Any]) -> Any:
    """The same network with weights and activations in int8.

    Args:
        model: `onnx.ModelProto` or `openvino.Model`.
        inputs: what the model takes, one image each.

    Raises:
        DependencyError: NNCF is not installed.
        BundleError: NNCF does not know how to quantise this network.
    """
    os.environ.setdefault("NNCF_CI", "1")  # it would otherwise report its use over the network
    nncf: Any = require("nncf", extra="export")
    nncf.set_log_level(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):  # progress bars, where results for programs may be written
            return nncf.quantize(model, nncf.Dataset(list(inputs)), subset_size=len(inputs))
    except (RuntimeError, ValueError, nncf.ValidationError, nncf.InternalError) as error:
        raise BundleError(f"the network cannot be quantised ({str(error).splitlines()[0]})") from error

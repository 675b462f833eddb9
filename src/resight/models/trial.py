"""An export from another machine is first opened in a process of its own.

Engines are native code that picks its kernels by the processor it meets. Where those fail, the process ends without an
exception: a service would be gone, and with it the models that work.
"""

from __future__ import annotations

import hashlib
import os
import platform
import signal
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from resight.errors import BundleError
from resight.models.engine import ENGINES, EnginePrecision
from resight.models.graph import probe_images

_LIMIT_S: Final = 300.0
_LIBRARIES: Final = {"onnx": "onnxruntime", "openvino": "openvino"}
_PROGRAM: Final = "import sys; from resight.models.trial import open_once; open_once(*sys.argv[1:])"


def surroundings(engine: str) -> str:
    """SHA-256 of what decides which kernels an engine takes: the processor, its library, and what that is told."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.is_file() else [platform.processor()]
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), lines[0])
    try:
        library = version(_LIBRARIES.get(engine, engine))
    except PackageNotFoundError:
        library = ""
    told = os.environ.get("ONEDNN_MAX_CPU_ISA", "")
    return hashlib.sha256("\n".join((platform.machine(), flags, library, told)).encode()).hexdigest()


def try_apart(folder: Path, engine: str, precision: EnginePrecision, shape: tuple[int, ...]) -> None:
    """Open an export and ask it, in another process.

    Args:
        folder: of the export.
        engine: its registered name.
        precision: as it was written.
        shape: of one prepared image.

    Raises:
        BundleError: the process died, or did not come to an end.
    """
    command = [sys.executable, "-c", _PROGRAM, str(folder), engine, precision, ",".join(map(str, shape))]
    try:
        code = subprocess.run(command, capture_output=True, timeout=_LIMIT_S, check=False).returncode
    except subprocess.TimeoutExpired:
        found = f"it gives no answer within {_LIMIT_S:.0f} s on this machine"
    else:
        if code in (0, 1):  # what raises an exception does so here as well, and can be told
            return
        name = signal.Signals(-code).name if code < 0 else f"code {code}"
        found = f"it ends the process that opens it ({name}) on this machine"
    raise BundleError(found, where=str(folder), fix="Use --engine torch, or export it again on this machine.")


def open_once(folder: str, engine: str, precision: str, shape: str) -> None:
    """What the other process does: one answer for a single image, and one for several."""
    opened = ENGINES.build(engine, folder=Path(folder), precision=precision)
    images = probe_images(tuple(map(int, shape.split(","))))
    for batch in (images[:1], images):
        opened.logits(batch)

"""Peak memory of training steps against depth, with and without activation checkpointing.

Each measurement is a process of its own, `python -m resight.protocols.degradation_memory '{"depth": 1001, ...}'`, since
a process never gives back the highest amount it has held.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pydantic import Field

from resight.errors import TrainingError
from resight.settings import Options, validate

_STEPS = 2
"""The first one allocates, the second one shows that nothing piles up."""


class MemoryCase(Options):
    """One measurement."""

    depth: int = Field(default=20, gt=0)
    width: int = Field(default=16, gt=0)
    checkpointed: bool = False
    batch_size: int = Field(default=16, gt=0)
    size_px: int = Field(default=32, gt=0)


def measure_memory(case: MemoryCase) -> dict[str, Any]:
    """Train two steps in a process of its own.

    Returns:
        `peak_gb` of the whole process, `idle_gb` before the network was built, `seconds` of the second step.

    Raises:
        TrainingError: the process failed, for example for want of memory.
    """
    command = [sys.executable, "-m", "resight.protocols.degradation_memory", case.model_dump_json()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise TrainingError(f"depth {case.depth} could not be measured (exit code {done.returncode}, {last})")
    return {**case.model_dump(), **json.loads(done.stdout)}


def _train(case: MemoryCase) -> dict[str, float]:
    import torch

    from resight.backbones import BACKBONES

    torch.set_num_threads(1)
    torch.manual_seed(0)
    options = {"depth": case.depth, "width": case.width, "stem": "cifar", "checkpoint_stages": case.checkpointed}
    idle = _peak_gb()
    network = BACKBONES.build("resnet", {**options, "shortcut": "pad"}, in_channels=1, dims=2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    images = torch.randn(case.batch_size, 1, case.size_px, case.size_px)
    began = time.perf_counter()
    for _ in range(_STEPS):
        began = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        network(images).square().mean().backward()
        optimizer.step()
    return {"peak_gb": _peak_gb(), "idle_gb": idle, "seconds": time.perf_counter() - began}


def _peak_gb() -> float:
    """Highest resident memory; from /proc where there is one, as Linux hands the parent's `ru_maxrss` down."""
    status = Path("/proc/self/status")
    if status.is_file():
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**20
    unit = 2**30 if sys.platform == "darwin" else 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


if __name__ == "__main__":
    print(json.dumps(_train(validate(MemoryCase, json.loads(sys.argv[1]), where="memory case"))))

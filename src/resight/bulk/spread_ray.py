"""Parts over several processes by Ray Data, on this machine's loopback or on a cluster that `RAY_ADDRESS` names.

Processes send finished parts back as bytes; this one alone writes them, so that a part cannot be written twice.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from resight.bulk.listing import ImageList
from resight.bulk.part import FinishedPart, PartPredictor, Work
from resight.errors import ResightError, require

_OBJECT_STORE_BYTES: Final = 256 << 20
"""Shared memory for parts on their way back; they are small, and Ray would take a third of the machine's."""
_LOOPBACK: Final = "127.0.0.1"
_TRIALS: Final = 3
"""Ray gives its own processes 30 s to start, which a machine with much else to do does not always keep."""
_SILENCES: Final = 60
"""Of 5 s each, until Ray Data gives its own coordinator up."""
_AGAIN: Final = "Finished parts are kept; give the same command again."


def over_processes(
    work: Work, images: ImageList, parts: Sequence[int], *, processes: int | None, threads: int
) -> Iterator[FinishedPart]:
    """Predict parts side by side, yielding each when it is finished.

    Args:
        work: what to do.
        images: the list that the parts are of; all processes read it.
        parts: their numbers.
        processes: that predict; one for each core when not given.
        threads: of each process.

    Raises:
        DependencyError: Ray is not installed.
        ResightError: a process failed.
    """
    if not parts:
        return
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if not os.environ.get("RAY_ADDRESS"):
        # Read when Ray is first imported: without clusters Ray takes the loopback for this machine's address, on which
        # all of its processes then listen. Asked for by address, it would look for one that others can reach.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # On a machine with much else to do Ray's own processes may not answer for minutes.
    os.environ.setdefault("RAY_DATA_AUTOSCALING_COORDINATOR_MAX_CONSECUTIVE_FAILURES", str(_SILENCES))
    ray = require("ray", extra="cluster")
    data = require("ray.data", extra="cluster")
    count = min(processes or os.cpu_count() or 1, len(parts))
    _start(ray, count)
    try:
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        numbers = data.from_items([{"part": number} for number in parts], override_num_blocks=len(parts))
        made = numbers.map(
            _Process,
            fn_constructor_args=(work, str(images.path.absolute()), threads),
            num_cpus=1,
            concurrency=count,
        )
        for row in made.iter_rows():
            yield FinishedPart(
                int(row["part"]), row["data"], int(row["images"]), int(row["failed"]), json.loads(row["seconds"])
            )
    except (ray.exceptions.RayError, RuntimeError) as error:  # of Ray Data, where Ray's own processes do not answer
        raise _cause(error) from error
    finally:
        ray.shutdown()


class _Process:
    """What one process holds: the bundle, read once."""

    def __init__(self, work: Work, images: str, threads: int) -> None:
        self._predictor, self._images = PartPredictor(work, threads), ImageList(Path(images))

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        made = self._predictor(self._images, int(row["part"]))
        return {
            "part": made.number,
            "data": made.data,
            "images": made.images,
            "failed": made.failed,
            "seconds": json.dumps(made.seconds),
        }


def _start(ray: Any, processes: int) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not os.environ.get("RAY_ADDRESS"):
        options |= {
            "address": "local",
            "num_cpus": processes,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    for trial in range(1, _TRIALS + 1):
        try:
            ray.init(**options)
            break
        except Exception as error:
            ray.shutdown()
            if trial == _TRIALS:
                raise ResightError(f"did not start ({_last_line(error)})", where="ray", fix=_AGAIN) from error
    if "address" in options and (here := ray.util.get_node_ip_address()) != _LOOPBACK:
        ray.shutdown()
        fix = "Import resight before ray, or name a cluster in RAY_ADDRESS."
        raise ResightError(f"listens on {here}", where="ray", expected=f"{_LOOPBACK}, this machine alone", fix=fix)


def _cause(error: BaseException) -> ResightError:
    """Our own error where there is one behind that of Ray."""
    behind: BaseException | None = error
    while behind is not None:
        if isinstance(behind, ResightError):
            return behind
        behind = getattr(behind, "cause", None) or behind.__cause__
    return ResightError(f"a process failed ({_last_line(error)})", where="ray", fix=_AGAIN)


def _last_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]

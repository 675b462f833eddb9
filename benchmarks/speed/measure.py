"""How a row is measured: one thread, processor time, candidates in turns, medians of paired ratios, equal results."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

Work = Callable[[], Any]
RESULTS = Path(__file__).parents[1] / "results" / "speed"
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
MEMORY = {
    "kept": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34)},
    "fresh": {"MALLOC_MMAP_THRESHOLD_": str(2**17), "MALLOC_TRIM_THRESHOLD_": str(2**17)},
}
"""What glibc does with memory that was given back: keeps it for the next call, or returns it to the system, which has
to clear it again. Left to itself it does one or the other, by what was asked for before."""
FRESH = "RESIGHT_BENCH_FRESH"
_SHORTEST_S = 0.02
"""Shorter work is repeated within one timing, as the clock of a process ticks coarsely."""


@dataclass
class Row:
    """One line of the table.

    Attributes:
        number: of the row.
        work: what was done.
        peer: the candidate that counts as 1.
        ours: the candidate that is Resight.
        ratio: processor time of the peer over ours, median over rounds.
        spread: quartiles of the paired ratios.
        seconds: median processor time of each candidate.
        others: ratio of every further candidate.
        memory_mb: by how much the resident set of the process rose above rest during one call, its peak.
        fresh_ratio: the same as `ratio`, with memory that is new at every call.
        difference: between the results of peer and ours, in the unit of the tolerance.
        tolerance: what was allowed.
        must: the ratio to be reached; None where none was asked for.
        rounds: timed.
        load: processes that wanted the machine meanwhile, on average over a minute.
        note: what a reader has to know.
    """

    number: str
    work: str
    peer: str
    ours: str
    ratio: float
    spread: tuple[float, float]
    seconds: dict[str, float]
    others: dict[str, float]
    memory_mb: dict[str, float]
    difference: float
    tolerance: float
    unit: str
    must: float | None
    rounds: int
    load: float = float("nan")
    note: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    fresh_ratio: float | None = None


def paired(
    number: str,
    work: str,
    candidates: Mapping[str, Work],
    *,
    must: float | None,
    difference: float,
    tolerance: float,
    unit: str,
    times: Mapping[str, float] | None = None,
    budget_s: float = 8.0,
    least: int = 5,
    most: int = 25,
    note: str = "",
    libraries: tuple[str, ...] = (),
) -> Row:
    """Time candidates in turns; the first is the peer, the second is Resight.

    Args:
        number: of the row.
        work: what is done.
        candidates: by name, each the same work.
        must: the ratio to be reached; None where none was asked for.
        difference: between the results of the first two.
        tolerance: largest difference allowed.
        unit: of difference and tolerance.
        times: how many calls of a candidate make up the work, where one call does only a part or several parts of it.
        budget_s: processor time after which no round is begun.
        least: rounds in any case.
        most: rounds at most.
        note: what a reader has to know.
        libraries: whose versions belong to the row.
    """
    require_equal(number, difference, tolerance, unit)
    names = list(candidates)
    factor = np.array([(times or {}).get(name, 1.0) for name in names])
    repeats = [_repeats(candidates[name]) for name in names]
    fresh = FRESH in os.environ
    memory = {name: round(_memory_mb(candidates[name]), 1) for name in names} if fresh else {}
    rounds: list[list[float]] = []
    begin = time.process_time()
    budget_s, least = (budget_s / 3, 3) if fresh else (budget_s, least)
    while len(rounds) < most and (len(rounds) < least or time.process_time() - begin < budget_s):
        rounds.append([_seconds(candidates[name], count) for name, count in zip(names, repeats, strict=True)])
    return record(
        number,
        work,
        dict(zip(names, (np.array(rounds) * factor).T, strict=True)),
        must=must,
        difference=difference,
        tolerance=tolerance,
        unit=unit,
        note=note,
        libraries=libraries,
        memory_mb=memory,
    )


def require_equal(number: str, difference: float, tolerance: float, unit: str) -> None:
    """No row without equal results; NaN is not equal."""
    if not difference <= tolerance:
        raise SystemExit(f"row {number}: results differ by {difference:.3g} {unit}, allowed are {tolerance:.3g}")


def record(
    number: str,
    work: str,
    seconds: Mapping[str, Float[np.ndarray, " rounds"]],
    *,
    must: float | None,
    difference: float,
    tolerance: float,
    unit: str,
    note: str = "",
    libraries: tuple[str, ...] = (),
    memory_mb: dict[str, float] | None = None,
) -> Row:
    """Keep a row: processor time of each candidate in every round, the peer first and Resight second."""
    peer, ours, *_ = names = list(seconds)
    ratios = {name: seconds[peer] / seconds[name] for name in names}
    row = Row(
        number=number,
        work=work,
        peer=peer,
        ours=ours,
        ratio=float(np.median(ratios[ours])),
        spread=tuple(np.quantile(ratios[ours], [0.25, 0.75]).tolist()),
        seconds={name: float(np.median(each)) for name, each in seconds.items()},
        others={name: float(np.median(ratios[name])) for name in names[2:]},
        memory_mb=memory_mb or {},
        difference=float(difference),
        tolerance=tolerance,
        unit=unit,
        must=must,
        rounds=len(seconds[peer]),
        note=note,
        versions=versions(("resight", *libraries)),
    )
    keep(row)
    return row


def keep(row: Row) -> None:
    """Write a row where the table is made from.

    With fresh memory only what such a run adds to the row. A run with kept memory begins it anew, so that no row tells
    of two states of the code.
    """
    row.load = os.getloadavg()[0]
    path = RESULTS / "rows" / f"{row.number}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = FRESH in os.environ
    if fresh:
        before = json.loads(path.read_text(encoding="utf-8"))
        found = before | {"fresh_ratio": row.ratio, "memory_mb": row.memory_mb}
    else:
        found = asdict(row)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    low, high = row.spread
    asked = "" if row.must is None else f"; must {row.must:.3g}"
    print(
        f"{row.number} {row.work}: {row.ratio:.2f} ({low:.2f}-{high:.2f}) times {row.peer}{asked}"
        + (", fresh memory" if fresh else ""),
        flush=True,
    )
    for name, ratio in row.others.items():
        print(f"   {name}: {ratio:.2f}")


def versions(libraries: tuple[str, ...]) -> dict[str, str]:
    """Installed versions."""
    from importlib.metadata import version

    return {library: version(library) for library in libraries}


def one_thread() -> None:
    """Everything that would use more threads uses one; started again where the environment says otherwise."""
    wanted = THREADS | MEMORY["fresh" if FRESH in os.environ else "kept"]
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **wanted})
    import cv2
    import torch

    torch.set_num_threads(1)
    cv2.setNumThreads(1)


def import_torchvision() -> Any:
    """torchvision beside a torch without CUDA: the operators that its own library would bring are declared first."""
    import torch

    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

    return torchvision


def _seconds(work: Work, count: int) -> float:
    start = time.process_time()
    for _ in range(count):
        work()
    return (time.process_time() - start) / count


def _repeats(work: Work) -> int:
    work()
    once = _seconds(work, 1)
    return max(1, int(np.ceil(_SHORTEST_S / max(once, 1e-6))))


def _memory_mb(work: Work) -> float:
    """Linux forgets the peak of the resident set when told to."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = status_mb("VmRSS")
    result = work()
    peak = status_mb("VmHWM")
    del result
    return max(0.0, peak - before)


def status_mb(key: str) -> float:
    """What Linux says of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(key))

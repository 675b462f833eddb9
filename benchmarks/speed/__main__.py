"""All rows, each file in a process of its own, with memory that is kept and with fresh memory; then the table."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from benchmarks.speed.measure import FRESH
from benchmarks.speed.table import write_table

FILES = (
    "inference",
    "training",
    "pictures",
    "radiology",
    "volumes",
    "solving",
    "intervals",
    "explaining",
    "starting",
)
LIMIT_S = 480
LIMIT_OF_ALL_S = 1800


def main() -> int:
    failed, begin = [], time.monotonic()
    names = sys.argv[1:] or FILES
    for name, memory in [(name, memory) for memory in ({}, {FRESH: "1"}) for name in names]:
        start = time.monotonic()
        command = [sys.executable, "-m", f"benchmarks.speed.{name}"]
        left = LIMIT_OF_ALL_S - (start - begin)
        try:
            limit = min(LIMIT_S, max(left, 0))
            code = subprocess.run(command, env={**os.environ, **memory}, timeout=limit, check=False).returncode
        except subprocess.TimeoutExpired:
            code = -1
        print(f"{name}: {time.monotonic() - start:.0f} s" + (f", failed ({code})" if code else ""), flush=True)
        if code:
            failed.append(name)
    write_table()
    if failed:
        print(f"without a new result: {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())

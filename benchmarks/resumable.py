"""Long runs one after the other; each result is kept at once, so that a command goes on where it stopped."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from resight.settings import plain, write_json


def finish(kept: Path, names: Iterable[str], run: Callable[[str], Any], *, minutes: float) -> dict[str, Any]:
    """What every run found, by name.

    Args:
        kept: JSON file with the results so far.
        names: of the runs, in the order to make them.
        run: makes the one that is named.
        minutes: begin none after that.

    Raises:
        SystemExit: time ended before the last one.
    """
    kept.parent.mkdir(parents=True, exist_ok=True)
    runs = json.loads(kept.read_text()) if kept.exists() else {}
    began = time.monotonic()
    for name in names:
        if name in runs:
            continue
        if time.monotonic() - began > 60 * minutes:
            raise SystemExit(f"Time is over before {name}; the same command goes on from there.")
        runs[name] = plain(run(name))
        write_json(kept, runs)
        print(name, round(time.monotonic() - began), "s", flush=True)
    return runs

"""The promise of a protocol: data in, one study page out, in bounded and resumable pieces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from resight.protocols.study import Study
from resight.registry import Registry
from resight.types import Progress, silent


@dataclass(frozen=True)
class Surroundings:
    """Where a protocol runs.

    Attributes:
        data: folder of the data set.
        out: folder of the study; every training run is a run folder below it and is not repeated when finished.
        smoke: minutes instead of hours: few images, epochs and repetitions, to see that everything fits together.
        progress: told how far it is.
    """

    data: Path
    out: Path
    smoke: bool = False
    progress: Progress = silent


class RunProtocol(Protocol):
    """Runs a study; `options` is an instance of the class the member was registered with."""

    def __call__(self, options: Any, /, *, surroundings: Surroundings) -> Study:
        """Run what is not finished yet and put the figures together.

        Raises:
            CohortError: files of the data set are missing; which, where to get them, how to go on without.
        """
        ...


PROTOCOLS: Registry[Callable[..., Study]] = Registry("protocol", "resight.protocols")
"""Members are functions of the kind `RunProtocol`, called as `PROTOCOLS.build(name, options, surroundings=...)`."""

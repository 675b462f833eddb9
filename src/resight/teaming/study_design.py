"""Who reads what, when and in which order: a crossover with a wash-out, balanced or unaided first, or both at once.

Design after Obuchowski & Bullen, "Multireader diagnostic accuracy imaging studies", Radiology 2022: every reader reads
every case in every arm, halves of the cases change places between sessions, and each reader has an own random order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from resight.errors import PredictionsError
from resight.settings import Options
from resight.teaming.readings import UNAIDED

AIDED = "aided"


class StudyOptions(Options):
    """A reader study."""

    readers: tuple[str, ...] = Field(min_length=2, description="names of the readers, as they shall stand in tables")
    kind: Literal["crossover", "unaided_first", "sequential"] = Field(
        default="crossover",
        description="crossover: two sessions with a wash-out, half of the cases aided in each; unaided_first: all "
        "cases unaided, then all aided after the wash-out; sequential: each case unaided, then aided at once",
    )
    washout_days: int = Field(default=28, ge=0, description="days between two sessions")
    seed: int = Field(default=0, ge=0, description="another seed gives other orders")

    @model_validator(mode="after")
    def _consistent(self) -> StudyOptions:
        if len(set(self.readers)) < len(self.readers):
            raise ValueError("every reader once")
        if self.kind != "sequential" and self.washout_days == 0:
            raise ValueError("washout_days above 0, or kind = 'sequential'")
        return self


def design_study(images: Sequence[str], labels: Sequence[str], options: StudyOptions) -> pd.DataFrame:
    """Lay a study out, one row a reading that is to be made.

    Args:
        images: the cases, each once.
        labels: what is read on each.
        options: readers, kind and seed.

    Returns:
        `reader, session, order, day, arm, image, label`, and empty `rating`, `decision` and `seconds` to be filled in,
        sorted as each reader is to work. In a crossover each half of the cases is aided first for every second reader,
        so that session and arm are balanced within one case for two readers and within readers for two cases.

    Raises:
        PredictionsError: fewer than two cases, or one twice.
    """
    names = list(images)
    if len(names) < 2 or len(set(names)) < len(names):
        found = f"{len(names)} cases, {len(set(names))} of them different"
        raise PredictionsError(found, where="reader study", expected="at least 2, each once")
    halves = np.random.default_rng((options.seed, 0)).permutation(len(names)) % 2
    rows: list[dict[str, object]] = []
    for number, reader in enumerate(options.readers):
        rng = np.random.default_rng((options.seed, 1, number))
        if options.kind == "sequential":
            order = rng.permutation(len(names))
            for place, case in enumerate(order):
                rows += [
                    _row(reader, 1, 2 * place + step, 0, arm, names[case]) for step, arm in enumerate((UNAIDED, AIDED))
                ]
            continue
        for session in (1, 2):
            order = rng.permutation(len(names))
            day = 0 if session == 1 else options.washout_days
            for place, case in enumerate(order):
                aided = (int(halves[case]) + number + session) % 2 == 0
                if options.kind == "unaided_first":
                    aided = session == 2
                rows.append(_row(reader, session, place, day, AIDED if aided else UNAIDED, names[case]))
    table = pd.DataFrame(rows).merge(pd.DataFrame({"label": list(labels)}), how="cross")
    return table.assign(rating=np.nan, decision=np.nan, seconds=np.nan)


def _row(reader: str, session: int, place: int, day: int, arm: str, image: str) -> dict[str, object]:
    return {"reader": reader, "session": session, "order": place + 1, "day": day, "arm": arm, "image": image}

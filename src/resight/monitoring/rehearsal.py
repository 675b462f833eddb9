"""What a reference can notice, tried out on itself: one half is the past, the other arrives, as it is and changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float

from resight.monitoring.columns import is_feature, is_output
from resight.monitoring.reference import Reference
from resight.monitoring.sequential import watch

_DEALS = 10
_FEWEST = 20
"""Cases that must arrive; fewer show nothing."""


@dataclass(frozen=True)
class Rehearsal:
    """How the watch did in several deals of the reference into two halves.

    Attributes:
        deals: how many.
        cases: that arrived in each.
        alpha: chance of ever raising a false alarm.
        false_alarms: deals with an alarm though nothing had changed.
        caught: number of the case at which a change was caught, one a deal; NaN where it was not.
    """

    deals: int
    cases: int
    alpha: float
    false_alarms: int
    caught: Float[np.ndarray, " deals"]


def rehearse(reference: Reference, *, alpha: float, shift_sd: float = 1.0, seed: int = 0) -> Rehearsal | None:
    """Deal a reference into two halves and watch one half arrive.

    Args:
        reference: the memory that is tried out.
        alpha: chance of ever raising a false alarm.
        shift_sd: by how many standard deviations every score, tone and feature moves in the changed half.
        seed: of the deals.

    Returns:
        None where fewer than 20 cases would arrive.
    """
    table = reference.table()
    cases = len(table) // 2
    if cases < _FEWEST:
        return None
    rng = np.random.default_rng(seed)
    moved = [str(name) for name in table if is_output(str(name)) or is_feature(str(name))]
    false_alarms, caught = 0, np.full(_DEALS, np.nan)
    for deal in range(_DEALS):
        # attributes were sorted on their own when the reference was made: each is dealt on its own
        dealt = pd.DataFrame({name: table[name].to_numpy()[rng.permutation(len(table))] for name in table})
        past, now = dealt.iloc[cases:], dealt.iloc[:cases]
        changed = now.assign(**{name: now[name] + shift_sd * table[name].std() for name in moved})
        false_alarms += watch(past, now, alpha=alpha, seed=deal)[0].case is not None
        case = watch(past, changed, alpha=alpha, seed=deal)[0].case
        caught[deal] = np.nan if case is None else case
    return Rehearsal(_DEALS, cases, alpha, false_alarms, caught)

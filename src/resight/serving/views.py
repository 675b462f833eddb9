"""Who looked at what: entries of the audit trail for looking, one for each look and not for each slice."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import Any, Final

from resight.serving.parts import Parts

_VIEW_S: Final = 600.0
"""Fetching the same again within this time is the same look at it."""


class Views:
    """Who looks at what, one entry of the audit trail for each in ten minutes: a volume is fetched slice by slice.

    Args:
        parts: of the service.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._noted: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, actor: str, study: int, what: str, **details: Any) -> None:
        """Write an entry, unless the same stands there already.

        Args:
            actor: who looks.
            study: number of the study.
            what: action of the entry.
            **details: what of the study.
        """
        key = (actor, str(study), what, *map(str, details.values()))
        moment = time.monotonic()
        with self._lock:
            for old in [old for old, noted in self._noted.items() if moment - noted > _VIEW_S]:
                del self._noted[old]
            if key in self._noted:
                return
        self._parts.service.audit(what, actor=actor, subject=f"study {study}", **details)
        with self._lock:
            self._noted[key] = moment

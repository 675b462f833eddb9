"""The running service as one object that web pages, DICOM node and workers share."""

from __future__ import annotations

import threading
from typing import Any

from resight.errors import OutputError
from resight.serving.audit_trail import append, export_head
from resight.serving.settings import ServiceSettings
from resight.serving.store import Store


class Service:
    """Settings, database and folders of one service.

    Args:
        settings: of `resight serve`.

    Raises:
        OutputError: its folder or database cannot be used.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.folder = settings.folder
        for name in ("incoming", "instances", "results"):
            try:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise OutputError(f"cannot be made ({error.strerror})", where=str(self.folder / name)) from error
        self.store = Store(settings.database_url)
        self.stopping = threading.Event()

    def audit(self, action: str, *, actor: str, subject: str = "", **details: Any) -> None:
        """Add one entry to the audit trail in a transaction of its own."""
        with self.store.write() as session:
            append(session, action, actor=actor, subject=subject, details=details)

    def export_head(self) -> None:
        """Write the newest head of the audit trail outside the database."""
        with self.store.read() as session:
            export_head(session, self.settings.heads_file)

    def close(self) -> None:
        """Stop, and give everything back."""
        self.stopping.set()
        self.export_head()
        self.store.close()

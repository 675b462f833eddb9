"""`resight audit-log`: is the audit trail what it was when it was written?"""

from __future__ import annotations

from pathlib import Path

from resight.cli.accounts import open_store
from resight.cli.console import say


def verify(settings: Path, *, heads: Path | None = None, files: bool = True) -> int:
    """Find entries and rows that were changed, removed or put elsewhere, and files that are not what they were.

    Args:
        settings: settings file of the service.
        heads: file of exported heads; the one that the settings name when not given.
        files: also read every kept image and result and compare it with its digest.
    """
    store = open_store(settings)
    from resight.errors import DataError
    from resight.serving import load_service_settings
    from resight.serving.audit_trail import changed_objects, count_entries, verify_trail

    options = load_service_settings(settings)
    exported = heads or options.heads_file
    with store.read() as session:
        count = count_entries(session)
        problems = verify_trail(session, exported if exported.is_file() else None)
        problems += changed_objects(session, options.folder) if files else []
    if problems:
        for problem in problems[1:]:
            say(problem)
        raise DataError(problems[0], where="audit trail")
    print(f"audit trail unchanged: {count} entries" + ("" if exported.is_file() else "; no heads to compare with"))
    return 0

"""`resight serve`: the DICOM node, the web server and the worklist of one service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def serve(
    settings: Path,
    *,
    set_: Annotated[list[str] | None, Parameter("--set", negative="")] = None,
) -> int:
    """Take studies from the hospital network, predict, and send the results back.

    Runs until it is interrupted. Settings are described in the reference.

    Args:
        settings: settings file of the service.
        set_: override one setting, as `http.port=8443`.
    """
    from resight.errors import require

    for library in ("fastapi", "sqlalchemy", "uvicorn"):
        require(library, extra="serve")
    from resight.serving.run import run
    from resight.serving.settings import load_service_settings

    return run(load_service_settings(settings, tuple(set_ or ())))

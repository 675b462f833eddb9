"""`resight tokens`: which programs may call the service."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from resight.cli.accounts import open_store, operator
from resight.cli.console import say


def add(
    settings: Path, name: str, *, role: Literal["reader", "admin", "service"] = "service", days: float | None = None
) -> int:
    """Create a token and print it; it cannot be shown again.

    Args:
        settings: settings file of the service.
        name: what the token is for.
        role: what its holder may do.
        days: it ends after so many days; never when not given.
    """
    from resight.serving.accounts import add_token

    store = open_store(settings)
    with store.write() as session:
        secret = add_token(session, name, role, by=operator(), days=days)
    print(secret)
    return 0


def revoke(settings: Path, name: str) -> int:
    """Make a token useless.

    Args:
        settings: settings file of the service.
        name: of the token.
    """
    from resight.serving.accounts import revoke_token

    store = open_store(settings)
    with store.write() as session:
        revoke_token(session, name, by=operator())
    say(f"revoked: {name}")
    return 0

"""Settings of a federation that cannot go together, found before anything runs."""

from __future__ import annotations

from resight.errors import SettingsError
from resight.federated.base import STRATEGIES, Strategy
from resight.federated.settings import FederatedSettings


def check_settings(settings: FederatedSettings) -> Strategy:
    """Refuse, before anything runs, what does not go together.

    Returns:
        The strategy that the settings name.

    Raises:
        SettingsError: what does not fit.
    """
    privacy, chosen = settings.federation.privacy, settings.federation.strategy
    name, strategy = chosen.name, STRATEGIES.build(chosen.name, chosen.options)
    strategy.check(settings.training)
    if privacy.secure_aggregation and strategy.needs_each:
        fix = "Switch secure aggregation off, or take a strategy that needs sums only."
        raise SettingsError(f"strategy {name!r} must see single updates", where="privacy.secure_aggregation", fix=fix)
    if privacy.differential != "example":
        return strategy
    # What is added to the loss of a whole batch has no gradient of a single image that could be clipped.
    added = {
        f"strategy {name!r}": type(strategy).wrap is not Strategy.wrap,
        f"objective {settings.training.objective.name!r}": settings.training.objective.name != "supervised",
        "gates": bool(settings.model.backbone.get("gate_target")),
    }
    for found in (what for what, is_there in added.items() if is_there):
        fix = "Leave it away, or take differential = 'site'."
        raise SettingsError(found, where="privacy.differential = 'example'", expected="a loss image by image", fix=fix)
    return strategy

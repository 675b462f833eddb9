"""`resight list`: every exchangeable part by name, with its options."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import result_json, result_table
from resight.errors import SettingsError, nearest


def list_(kind: str = "", *, as_json: Annotated[bool, Parameter("--json", negative="")] = False) -> int:
    """Show every backbone, head, loss and whatever else has a name, with options.

    Args:
        kind: only this kind.
        as_json: print the result for programs.
    """
    from resight.backbones import BACKBONES
    from resight.blocks import ATTENTION
    from resight.explain import EXPLAINERS
    from resight.federated import STRATEGIES
    from resight.fewshot import FEWSHOT
    from resight.heads import CLASSIFIERS, HEADS
    from resight.models import ENGINES
    from resight.multimodal import FUSIONS, STEMS
    from resight.protocols import PROTOCOLS
    from resight.teaming import POLICIES
    from resight.training import LOSSES, OBJECTIVES

    rooms = (
        *(BACKBONES, HEADS, ATTENTION, FUSIONS, STEMS, CLASSIFIERS, LOSSES, OBJECTIVES),
        *(EXPLAINERS, ENGINES, POLICIES, FEWSHOT, STRATEGIES, PROTOCOLS),
    )
    registries = {registry.kind: registry for registry in rooms}
    if kind and kind not in registries:
        raise SettingsError(f"unknown kind {kind!r}", fix=nearest(kind, registries))
    members = [
        (name, registry.member(member))
        for name, registry in registries.items()
        if kind in ("", name)
        for member in registry.names()
    ]
    if as_json:
        result_json([{"kind": k, "name": m.name, "options": m.options.model_json_schema()} for k, m in members])
        return 0
    rows = [
        (
            name,
            member.name,
            member.summary,
            ", ".join(f"{k}={_default(f)}" for k, f in member.options.model_fields.items()),
        )
        for name, member in members
    ]
    result_table(("kind", "name", "what", "options"), rows)
    return 0


def _default(field: object) -> str:
    default = getattr(field, "default", None)
    return "?" if getattr(field, "is_required", lambda: False)() else str(default)

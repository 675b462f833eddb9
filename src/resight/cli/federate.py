"""`resight federate`: learn at several sites without pooling images."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from resight.cli.console import check_free, fresh, progress_bars, result_json, result_table, say

if TYPE_CHECKING:
    from resight.federated import Audit

_COLUMNS = ("training", "label", "pooled AUROC", "worst site", "its AUROC")
Overrides = Annotated[list[str] | None, Parameter("--set", negative="")]


def simulate(
    settings: Path,
    *,
    out: Path,
    set_: Overrides = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Several sites in one process, beside pooled training and each site alone.

    Args:
        settings: experiment file; `[federation]` and `[simulation]` say what is not usual.
        out: folder of the result.
        set_: overrides, for example `federation.strategy.name=fedprox`.
        resume: continue an interrupted simulation in `out`.
        force: replace what is in `out`.
        as_json: print the figures for programs.
    """
    from resight.experiments import load_experiment
    from resight.federated import FederatedSettings
    from resight.federated import simulate as run

    chosen = load_experiment(settings, set_ or [], FederatedSettings)
    if not resume:
        fresh(out, force=force, resumable=True)
    with progress_bars() as progress:
        found = run(chosen, out, resume=resume, progress=progress)
    if as_json:
        result_json({outcome.name: outcome.audit.to_dict() for outcome in found.outcomes})
        return 0
    rows = [row for outcome in found.outcomes for row in _rows(outcome.name, outcome.audit)]
    result_table(_COLUMNS, rows, title=chosen.name)
    for outcome in found.outcomes:
        for refusal in outcome.history.refusals:
            say(f"{outcome.name}, round {refusal['round'] + 1}: {refusal['refused']}: {refusal['reason']}")
    say(f"figures: {out / 'federation.json'}")
    return 0


def _rows(title: str, audit: Audit) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for one in audit.pooled:
        if one.group != "everyone":
            continue
        worst = audit.worst.get(one.label, {})
        value = worst.get("auroc", {}).get("value")
        auroc = one.evaluation.labels[0].metrics["auroc"]
        rows.append((title, one.label, auroc, worst.get("site", "-"), f"{value:.3f}" if value is not None else "-"))
    return rows


def provision(
    *sites: str,
    out: Path,
    server: str,
    days: float = 365.0,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Make certificates, keys and start-up kits for a federation.

    Args:
        sites: names of the sites.
        out: folder of the kits.
        server: host:port where sites reach the server.
        days: how long certificates hold.
        force: replace what is in `out`.
    """
    from resight.federated.provision import provision as make

    fresh(out, force=force)
    make(out, sites, server, days=days)
    say(f"server: {out / 'server'}")
    for name in sites:
        say(f"site: {out / 'sites' / name}")
    say(f"keep {out / 'ca'} offline: whoever has it can let sites in")
    return 0


def server(
    settings: Path,
    *,
    kit: Path,
    out: Path,
    bind: str = "",
    set_: Overrides = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """Run the server of a federation: no images, only what sites send.

    Args:
        settings: experiment file, the same at every site.
        kit: start-up kit of the server.
        out: folder of the result.
        bind: host:port to listen on, where it is not the kit's.
        set_: overrides; sites must be given the same.
        resume: go on after the last finished round.
        force: replace what is in `out`.
        as_json: print the figures for programs.
    """
    from resight.experiments import load_experiment
    from resight.federated import FederatedSettings
    from resight.federated.provision import read_kit
    from resight.federated.server import serve

    chosen = load_experiment(settings, set_ or [], FederatedSettings)
    opened = read_kit(kit, "server")
    if not resume:
        fresh(out, force=force, resumable=True)
    with progress_bars() as progress:
        audit = serve(chosen, opened, out, bind=bind, resume=resume, progress=progress, say=say)
    if as_json:
        result_json({"federated": audit.to_dict()})
        return 0
    result_table(_COLUMNS, _rows("federated", audit))
    say(f"figures: {out / 'federation.json'}")
    return 0


def client(
    settings: Path,
    *,
    kit: Path,
    out: Path,
    server: str = "",
    wait_s: float = 600.0,
    set_: Overrides = None,
) -> int:
    """Take part in a federation as a site; run it again after any interruption.

    Args:
        settings: experiment file, the same as the server's.
        kit: start-up kit of this site.
        out: folder of the site: prepared images, memory, ledger, own predictions. Nothing of it is sent.
        server: host:port of the server, where it is not the kit's.
        wait_s: how long to try when the server cannot be reached.
        set_: overrides, above all `cohort.path=...` for where this site's images lie.
    """
    from resight.experiments import load_experiment
    from resight.experiments.prepare import prepare
    from resight.federated import FederatedSettings, Site, SiteData
    from resight.federated.client import take_part
    from resight.federated.provision import read_kit
    from resight.federated.settings_check import check_settings

    chosen = load_experiment(settings, set_ or [], FederatedSettings)
    check_settings(chosen)
    opened = read_kit(kit, "site")
    with progress_bars() as progress:
        prepared = prepare(chosen, chosen.store.folder or out / "store", progress, encode=False)
    name = opened.options.name
    site = Site(name, chosen, SiteData.of(prepared), out, identity=opened.identity(), roster=opened.roster)
    take_part(site, opened, address=server, wait_s=wait_s, say=say)
    say(f"what left this site: resight federate ledger {site.ledger.path}")
    return 0


def ledger(
    path: Path,
    *,
    out: Path | None = None,
    force: Annotated[bool, Parameter(negative="")] = False,
    as_json: Annotated[bool, Parameter("--json", negative="")] = False,
) -> int:
    """What has left a site: what, when, how much, to whom, and how it was protected.

    Args:
        path: `ledger.jsonl` of a site, or the folder that holds it.
        out: table (CSV or Parquet) with one row for every message, for a spreadsheet.
        force: replace `out`.
        as_json: print the sums for programs.
    """
    import pandas as pd

    from resight.federated.ledger import LINE, departures, read_ledger
    from resight.tables import write_table

    check_free(out, force=force)
    entries = read_ledger(path / "ledger.jsonl" if path.is_dir() else path)
    found = departures(entries)
    if out is not None:
        rows = [entry | {"facts": json.dumps(entry["facts"])} for entry in entries]
        write_table(pd.DataFrame(rows, columns=list(LINE)), fresh(out, force=force))
        say(f"written: {out}")
    if as_json:
        result_json([asdict(one) for one in found])
        return 0
    rows = [
        (one.what, one.to, one.messages, f"{one.numbers:,}", one.first[:19], one.last[:19], one.protected_by)
        for one in found
    ]
    result_table(("what left", "to", "messages", "numbers", "first (UTC)", "last (UTC)", "protected by"), rows)
    numbers = sum(one.numbers for one in found)
    say(f"{len(entries)} messages with {numbers:,} numbers; the facts beside them stand in the ledger as they left")
    return 0

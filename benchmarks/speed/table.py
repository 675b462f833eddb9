"""The kept rows as one table and one figure."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

from benchmarks.speed.measure import RESULTS

mpl.use("agg")

import matplotlib.pyplot as plt

FIGURE = Path(__file__).parents[2] / "docs" / "explanation" / "speed.svg"
_FLAGS = ("avx512_bf16", "amx_bf16", "avx512_vnni", "avx_vnni", "amx_int8")


def write_table() -> None:
    """Write `table.md`, `table.json` and the figure of the documentation."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((RESULTS / "rows").glob("*.json"))]
    (RESULTS / "table.json").write_text(
        json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )
    (RESULTS / "table.md").write_text(_markdown(rows), encoding="utf-8")
    _draw(rows)


def machine() -> dict[str, Any]:
    """The processor and what it knows; nothing that names a host."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    name = next((line.split(":")[1].strip() for line in facts.splitlines() if line.startswith("model name")), "")
    known = [flag for flag in _FLAGS if flag in facts]
    return {"processor": name, "python": platform.python_version(), "threads": 1, "knows": known}


def _markdown(rows: list[dict[str, Any]]) -> str:
    here = machine()
    lines = [
        "### Every row",
        "",
        f"`make bench` on one thread of {here['processor']} ({', '.join(here['knows']) or 'neither bf16 nor VNNI'}),"
        f" Python {here['python']}. Ratio: processor time of the peer over Resight's, median of interleaved pairs, with"
        " quartiles."
        " Fresh: the same where glibc gives memory back after every call, to either side; otherwise it keeps it."
        " Others: further candidates, times faster than the peer."
        " Memory: peak of the resident set during one call above rest, with fresh memory, peer and Resight."
        " Load: processes that wanted the"
        f" {os.cpu_count()} processors of the machine meanwhile, on average over a minute.",
        "",
        "| row | work | peer | Resight | times faster | fresh | must | agree within | MB | load | others |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        low, high = row["spread"]
        memory = " / ".join(f"{row['memory_mb'][name]:.0f}" for name in (row["peer"], row["ours"]) if row["memory_mb"])
        others = ", ".join(f"{name} {ratio:.2f}" for name, ratio in row["others"].items())
        must = "none asked for" if row["must"] is None else f"{row['must']:.2f}"
        reached = "" if row["must"] is None or row["ratio"] >= row["must"] else " **(short)**"
        fresh = "" if row.get("fresh_ratio") is None else f"{row['fresh_ratio']:.2f}"
        lines.append(
            f"| {row['number']} | {row['work']} "
            f"| {row['peer']}, {_ms(row, 'peer')} | {row['ours']}, {_ms(row, 'ours')} "
            f"| {row['ratio']:.2f} ({low:.2f}-{high:.2f}){reached} | {fresh} | {must} "
            f"| {row['difference']:.1g} of {row['tolerance']:g} {row['unit']} | {memory} | {row['load']:.1f} "
            f"| {others} |"
        )
    notes = [f"- {row['number']}: {row['note']}." for row in rows if row["note"]]
    used = sorted({f"{name} {version}" for row in rows for name, version in row["versions"].items()})
    return "\n".join([*lines, "", *notes, "", f"Versions: {', '.join(used)}.", ""])


def _ms(row: dict[str, Any], key: str) -> str:
    seconds = row["seconds"][row[key]]
    return f"{seconds:.1f} s" if seconds >= 10 else f"{1e3 * seconds:.3g} ms"


def _draw(rows: list[dict[str, Any]]) -> None:
    mpl.rcParams["svg.hashsalt"] = "resight"
    figure, axes = plt.subplots(figsize=(8, 0.32 * len(rows) + 1.2))
    places = range(len(rows))
    axes.barh(places, [row["ratio"] - 1 for row in rows], left=1, color="#1b7f79", height=0.6)
    axes.hlines(places, *zip(*(row["spread"] for row in rows), strict=True), color="black", linewidth=1)
    axes.plot(
        [np.nan if row["must"] is None else row["must"] for row in rows],
        places,
        "|",
        color="#c0392b",
        markersize=11,
        markeredgewidth=2,
        label="to be reached",
    )
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yticks(places, [f"{row['number']}  {row['work']}" for row in rows], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("times faster than the peer")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(FIGURE, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    write_table()

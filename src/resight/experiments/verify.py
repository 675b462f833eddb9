"""Is what a run folder says still what its predictions give?"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from resight.errors import ResightError
from resight.evaluation import evaluate, judge_uncertainty
from resight.experiments.settings import ExperimentSettings
from resight.models.bundle import load_bundle
from resight.predictions import Predictions
from resight.settings import load_toml

_TOLERANCE = 1e-9
"""Sums in another order, on another machine, may differ in the last digits."""


def verify_run(folder: str | Path) -> list[str]:
    """Evaluate a run's predictions again and compare every figure.

    Args:
        folder: run folder.

    Returns:
        One clause per thing that differs; empty when nothing does.
    """
    folder = Path(folder)
    try:
        settings = load_toml(folder / "settings.toml", ExperimentSettings)
        manifest = load_bundle(folder / "bundle").manifest
        stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        predictions = Predictions.read(folder / "predictions.csv", manifest.task)
        split = stored.pop("evaluated_on")
        options = settings.evaluation.model_copy(update={"split": split})
        again = evaluate(predictions, options, operating_points=manifest.operating_points).to_dict()
        if "uncertainty" in stored:  # runs from before there were sets have none
            again["uncertainty"] = judge_uncertainty(
                predictions.part(split=split), manifest.conformal, options
            ).to_dict()
    except (ResightError, OSError, ValueError, KeyError) as error:
        return [str(error)]
    return [f"metrics.json: {where}" for where in differences(stored, json.loads(json.dumps(again)))]


def differences(stored: Any, again: Any, where: str = "") -> list[str]:
    """Where two trees of plain values differ, one clause each; floats may differ in the last digits.

    Args:
        stored: what was written.
        again: what was computed now.
        where: key of the trees, put before those of what differs.
    """
    if isinstance(stored, dict) and isinstance(again, dict):
        keys = sorted({*stored, *again})
        return [d for key in keys for d in differences(stored.get(key), again.get(key), f"{where}.{key}".lstrip("."))]
    if isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        pairs = enumerate(zip(stored, again, strict=True))
        return [d for index, (a, b) in pairs for d in differences(a, b, f"{where}[{index}]")]
    if isinstance(stored, float) and isinstance(again, float):
        same = math.isclose(stored, again, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
    else:
        same = stored == again
    return [] if same else [f"{where} is {stored!r}, the predictions give {again!r}"]

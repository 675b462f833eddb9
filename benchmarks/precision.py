"""What coarser numbers cost trained networks: AUROC changes of every export of a run, on its test images.

    resight train benchmarks/experiments/cxr_pneumonia.toml --out runs/pneumonia --set training.precision=bf16 \\
        --set training.epochs=8 --set "recipe.size_px=[64,64]"
    resight train benchmarks/experiments/isic_melanoma.toml --out runs/melanoma --set training.precision=bf16
    python benchmarks/precision.py runs/pneumonia runs/melanoma
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from resight.experiments import cohort_of_run
from resight.models import export_bundle
from resight.models.exported import ExportRecord

RESULTS = Path(__file__).parent / "results" / "speed"
EXPORTS = (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))


def main(runs: list[Path]) -> None:
    found = {run.name: _exports(run) for run in runs}
    lines = [
        "### Exports of trained networks",
        "",
        "`python benchmarks/precision.py RUN ...`; int8 calibrated on training images. Intervals: DeLong by patient,"
        " paired, 95 %.",
        "",
        "| network, test images | export | AUROC before | after | change | largest change of a probability"
        " | changed decisions |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [line for name, records in found.items() for record in records for line in _lines(name, record)]
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "precision.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = {
        name: {record.name: record.model_dump(mode="json", exclude={"created"}) for record in records}
        for name, records in found.items()
    }
    (RESULTS / "precision.json").write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print("\n".join(lines))


def _exports(run: Path) -> list[ExportRecord]:
    train, test = (cohort_of_run(run, split) for split in ("train", "test"))
    return [
        export_bundle(run / "bundle", *pair, calibration=train.paths, judged_on=test, replace=True) for pair in EXPORTS
    ]


def _lines(name: str, record: ExportRecord) -> list[str]:
    found = record.comparison or {}
    lines = []
    for each in found["auroc"].values():
        change, before, after = each["change"], each["before"]["value"], each["after"]["value"]
        interval = f"{change['low']:+.5f} to {change['high']:+.5f}" if change["low"] is not None else "no variance"
        lines.append(
            f"| {name}, {found['images']} | {record.name} | {before:.4f} | {after:.4f} "
            f"| {change['value']:+.5f} ({interval}) | {found['max_probability_difference']:.1g} "
            f"| {found['changed_decisions']} of {found['decisions']} |"
        )
    return lines


if __name__ == "__main__":
    main([Path(each) for each in sys.argv[1:]])

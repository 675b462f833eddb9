"""What coarser numbers cost a trained network: AUROC changes of every export of a run, on its test images.

    resight train benchmarks/experiments/cxr_pneumonia.toml --out runs/small --set training.precision=bf16 \\
        --set training.epochs=8 --set "recipe.size_px=[64,64]"
    python benchmarks/precision.py runs/small
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from resight.experiments import cohort_of_run
from resight.models import export_bundle

RESULTS = Path(__file__).parent / "results" / "speed"
EXPORTS = (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))


def main(run: Path) -> None:
    train, test = (cohort_of_run(run, split) for split in ("train", "test"))
    records = [
        export_bundle(run / "bundle", *pair, calibration=train.paths, judged_on=test, replace=True) for pair in EXPORTS
    ]
    lines = [
        "### Exports of one network",
        "",
        f"`python benchmarks/precision.py RUN`; {records[0].comparison['images']} test images of"
        f" {records[0].comparison['patients']} patients, int8 calibrated on {records[1].calibration_images} training"
        " images. Intervals: DeLong by patient, paired, 95 %.",
        "",
        "| export | AUROC before | after | change | largest change of a probability | changed decisions |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for record in records:
        found = record.comparison
        for label, each in found["auroc"].items():
            change = each["change"]
            interval = f"{change['low']:+.5f} to {change['high']:+.5f}" if change["low"] is not None else "no variance"
            lines.append(
                f"| {record.name}, {label} | {each['before']['value']:.4f} | {each['after']['value']:.4f} "
                f"| {change['value']:+.5f} ({interval}) | {found['max_probability_difference']:.1g} "
                f"| {found['changed_decisions']} of {found['decisions']} |"
            )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "precision.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    data = {record.name: record.model_dump(mode="json", exclude={"created"}) for record in records}
    (RESULTS / "precision.json").write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Does a trained model hold when the files of its test patients have another size, colour mode and format?

    python benchmarks/changed_files.py runs/cxr_pneumonia --out benchmarks/results/cxr_pneumonia/changed_files.json

Every test image of the run is written again (as a grey PNG of 320 px, as a colour JPEG of 180 px, as a 16-bit PNG with
another range), predicted with the run's bundle, and the AUROC is computed again.
"""

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np

import resight
from resight.cohorts import load_cohort
from resight.evaluation import EvaluationOptions, evaluate
from resight.experiments import ExperimentSettings
from resight.predictions import Predictions
from resight.settings import load_toml, write_json


def resized(image: np.ndarray, side: int) -> np.ndarray:
    return cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA if side < image.shape[0] else cv2.INTER_CUBIC)


def grey_png(image: np.ndarray, path: Path) -> Path:
    cv2.imwrite(str(path.with_suffix(".png")), resized(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), 320))
    return path.with_suffix(".png")


def colour_jpeg(image: np.ndarray, path: Path) -> Path:
    cv2.imwrite(str(path.with_suffix(".jpg")), resized(image, 180), [cv2.IMWRITE_JPEG_QUALITY, 85])
    return path.with_suffix(".jpg")


def deep_png(image: np.ndarray, path: Path) -> Path:
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(np.float64) / 255
    cv2.imwrite(str(path.with_suffix(".png")), (500 + 12_000 * grey).astype(np.uint16))
    return path.with_suffix(".png")


VARIANTS = {
    "grey PNG, 320 px": grey_png,
    "colour JPEG, 180 px": colour_jpeg,
    "16-bit grey PNG, values 500 to 12500": deep_png,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    settings = load_toml(arguments.run / "settings.toml", ExperimentSettings)
    root = load_cohort(settings.cohort).root
    stored = Predictions.read(arguments.run / "predictions.csv").part(split="test")
    predictor = resight.load(arguments.run / "bundle")
    options = EvaluationOptions(bootstrap=0, baselines=False)
    results = {"as they are": str(evaluate(stored, options).labels[0].metrics["auroc"])}
    names = stored.images()["image"]
    for title, write in VARIANTS.items():
        with tempfile.TemporaryDirectory() as folder:
            paths = [write(cv2.imread(str(root / name)), Path(folder) / f"{i:05d}.x") for i, name in enumerate(names)]
            changed = predictor.predict(paths)
        table = stored.table.assign(score=changed.table["score"], probability=changed.table["probability"])
        evaluation = evaluate(Predictions(table, stored.labels, stored.task), options)
        results[title] = str(evaluation.labels[0].metrics["auroc"])
    write_json(arguments.out, {"test_auroc": results, "images": len(names)})
    for title, figure in results.items():
        print(f"{title}: {figure}")


if __name__ == "__main__":
    main()

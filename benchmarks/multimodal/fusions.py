"""What a table beside the image gains: each fusion against images alone, the table alone, and the other fusions.

    python benchmarks/multimodal/fusions.py phantom
    python benchmarks/multimodal/fusions.py isic2017
    python benchmarks/multimodal/fusions.py covid

phantom: a finding that only image and laboratory value together tell; three drawn cohorts, each judged by a network of
its own seed, percentiles of the scores pooled. isic2017: age and sex beside dermoscopy; 1,500 images of the official
training part are learned from (250 of them choose the epoch), the other 500 and the official validation part (150) are
judged; the official test labels are withheld. covid: sex, view and days since onset beside 109 chest X-rays, asked for
intensive care; every patient is judged once by a network of five that did not see the patient. The same images, epochs
and first weights for every network; differences are paired, by patient where patients are known. Finished networks are
kept below `--scratch`, so that the command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression

from resight.cohorts import CombinationOptions, write_combination
from resight.cohorts.shortcuts import column_aurocs
from resight.evaluation import EvaluationOptions, compare, evaluate, patient_index
from resight.evaluation.significance import holm
from resight.experiments import ExperimentSettings
from resight.experiments.members import train_members
from resight.experiments.prepare import Prepared, prepare
from resight.predictions import Predictions, scores_of
from resight.settings import plain, validate, write_json
from resight.training import predict_logits
from resight.types import silent

FUSIONS = ("late", "concat", "film", "daft")
PAIRS = tuple(combinations(FUSIONS, 2))
OUT = Path(__file__).parents[1] / "results" / "several_inputs" / "fusions"
SHARED = Path("../shared/data")


@dataclass(frozen=True)
class Study:
    """A cohort, its columns, how long to train, and what keeps the images of one patient together."""

    labels: tuple[str, ...]
    columns: tuple[str, ...]
    channels: int
    epochs: int
    group: str
    tables: tuple[Path, ...]
    percentiles: bool = False


def phantom(scratch: Path) -> Study:
    paths = []
    for seed in range(3):
        folder = scratch / f"phantom{seed}"
        if not (folder / "cohort.csv").exists():
            write_combination(CombinationOptions(kind="table", images=1000, seed=seed), folder)
        table = pd.read_csv(folder / "cohort.csv")
        table["patient_id"] = [f"{seed} {patient}" for patient in table["patient_id"]]
        table["file"] = [str((folder / name).resolve()) for name in table.pop("image")]
        paths.append(scratch / f"phantom{seed}.csv")
        table.to_csv(paths[-1], index=False)
    columns = ("bnp_pg_ml", "age", "sex", "ward")
    return Study(("Decompensation",), columns, 1, 12, "patient_id", tuple(paths), percentiles=True)


def isic2017(scratch: Path) -> Study:
    table = pd.read_csv(SHARED / "derm_isic2017" / "index.csv")
    table = table[table["split"] != "test"].reset_index(drop=True)
    official = (table["split"] == "val").to_numpy()
    order = np.random.default_rng(0).permutation(np.flatnonzero(~official))
    table["split"] = "train"
    table.loc[order[:500], "split"] = "test"
    table.loc[order[500:750], "split"] = "validation"
    table.loc[official, "split"] = "test"
    return Study(
        ("melanoma", "seborrheic_keratosis"),
        ("age", "sex"),
        3,
        10,
        "none",
        (_written(table, "derm_isic2017", scratch / "isic2017.csv"),),
    )


def covid(scratch: Path) -> Study:
    table = pd.read_csv(SHARED / "cxr_covid_multimodal" / "index.csv")
    table = table[table["went_icu"].notna()].reset_index(drop=True)
    table["went_icu"] = (table["went_icu"] == "Y").astype(int)
    owner, count = patient_index(table["patient_id"].to_numpy(dtype=str))
    fold = np.random.default_rng(0).permutation(count)[owner] % 5
    paths = []
    for number in range(5):
        part = np.where(fold == number, "test", np.where(fold == (number + 1) % 5, "validation", "train"))
        paths.append(_written(table.assign(split=part), "cxr_covid_multimodal", scratch / f"covid{number}.csv"))
    return Study(("went_icu",), ("sex", "view", "offset_days"), 1, 15, "patient_id", tuple(paths))


def _written(table: pd.DataFrame, folder: str, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    table["file"] = [str((SHARED / folder / name).resolve()) for name in table["file"]]
    table.to_csv(path, index=False)
    return path


def settings_for(study: Study, path: Path, fusion: str | None, store: Path, seed: int) -> ExperimentSettings:
    clinical = {} if fusion is None else {"clinical": {"columns": study.columns}, "fusion": {"name": fusion}}
    return validate(
        ExperimentSettings,
        {
            "cohort": {"path": str(path), "labels": study.labels},
            "split": {"column": "split", "group": study.group},
            "recipe": {"size_px": [64, 64], "channels": study.channels},
            "augmentation": {"flip": 0.5, "rotate_deg": 15.0, "scale": 0.1, "translate": 0.05, "gain": 0.1},
            "model": {"backbone": {"name": "resnet", "depth": 18, "width": 32}, **clinical},
            "training": {"epochs": study.epochs, "precision": "bf16", "threads": 1, "seed": seed},
            "store": {"folder": str(store)},
        },
        where="benchmarks/multimodal/fusions.py",
    )


def answers(study: Study, number: int, fusion: str | None, scratch: Path) -> pd.DataFrame:
    """Scores of the test images of one table by one kind of network, from a file where it was trained before."""
    name = fusion or "images"
    kept = scratch / f"{study.tables[number].stem}-{name}.csv"
    if not kept.exists():
        seed = number if study.percentiles else 0
        settings = settings_for(
            study, study.tables[number], fusion, scratch / "store" / study.tables[number].stem, seed
        )
        prepared = prepare(settings, scratch / "store" / study.tables[number].stem, silent)
        folder = scratch / f"{study.tables[number].stem}-{name}"
        ensemble = train_members(settings, prepared, folder, resume=True, progress=silent)
        test = prepared.in_split("test")
        logits = predict_logits(
            ensemble.models[0],
            prepared.samples(test),
            batch_size=64,
            device=torch.device("cpu"),
            precision=ensemble.fits[0].precision,
        )
        _rows(prepared, test, scores_of(logits, prepared.cohort.task)).to_csv(kept, index=False)
        if fusion is not None and not (table := scratch / f"{study.tables[number].stem}-table.csv").exists():
            _rows(prepared, test, _table_alone(prepared, test)).to_csv(table, index=False)
            _shortcuts(prepared).to_csv(scratch / f"{study.tables[number].stem}-columns.csv", index=False)
        print(kept.stem, flush=True)
    found = pd.read_csv(kept)
    scores = [f"score {label}" for label in study.labels]
    return found.assign(**found[scores].rank(pct=True)) if study.percentiles else found


def _rows(prepared: Prepared, keep: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    cohort = prepared.cohort.rows(keep)
    columns = [c for c in ("image", "patient_id") if c in cohort.table.columns]
    frame = cohort.table[columns].reset_index(drop=True)
    for place, label in enumerate(cohort.labels):
        frame[f"score {label}"], frame[f"target {label}"] = scores[:, place], cohort.targets()[:, place]
    return frame


def _table_alone(prepared: Prepared, test: np.ndarray) -> np.ndarray:
    """Logistic regression on the encoded columns of the training images."""
    assert prepared.clinical is not None
    learned, targets = prepared.in_split("train"), prepared.cohort.targets()
    fits = [LogisticRegression(max_iter=1000).fit(prepared.clinical[learned], y > 0.5) for y in targets[learned].T]
    return np.stack([one.predict_proba(prepared.clinical[test])[:, 1] for one in fits], axis=1)


def _shortcuts(prepared: Prepared) -> pd.DataFrame:
    assert prepared.encoding is not None
    cohort = prepared.cohort.rows(prepared.in_split("train"))
    names = "patient_id" if "patient_id" in cohort.table.columns else "image"
    owner, _ = patient_index(cohort.table[names].to_numpy(dtype=str))
    found = column_aurocs(cohort.table[list(prepared.encoding.names)], cohort.targets(), cohort.labels, owner)
    return pd.DataFrame([{"column": o.column, "label": o.label, "auroc": str(o.auroc)} for o in found])


def _predictions(study: Study, frame: pd.DataFrame) -> Predictions:
    scores, targets = (frame[[f"{what} {label}" for label in study.labels]].to_numpy() for what in ("score", "target"))
    columns = [c for c in ("image", "patient_id") if c in frame.columns]
    task = "binary" if len(study.labels) == 1 else "multilabel"
    return Predictions.from_arrays(frame[columns], study.labels, task, score=scores, target=targets)


STUDIES = {"phantom": phantom, "isic2017": isic2017, "covid": covid}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("--scratch", type=Path, default=Path("runs/fusions"))
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    torch.set_num_threads(1)
    study = STUDIES[given.study](given.scratch)
    numbers = range(len(study.tables))
    tables = {
        name: _predictions(
            study, pd.concat([answers(study, n, fusion, given.scratch) for n in numbers], ignore_index=True)
        )
        for name, fusion in {"images": None, **{f: f for f in FUSIONS}}.items()
    }
    stems = [path.stem for path in study.tables]
    tables["table"] = _predictions(
        study, pd.concat([pd.read_csv(given.scratch / f"{s}-table.csv") for s in stems], ignore_index=True)
    )
    options = EvaluationOptions(bootstrap=2000)
    found: dict[str, Any] = {"labels": study.labels, "columns": study.columns}
    found["single columns, training images"] = pd.read_csv(given.scratch / f"{stems[0]}-columns.csv").to_dict("records")
    for name, table in tables.items():
        judged = evaluate(table, options)
        entry: dict[str, Any] = {one.label: plain(one.metrics["auroc"]) for one in judged.labels}
        for against in ("images", "table"):
            if name in ("images", "table"):
                continue
            by_label = compare(tables[against], table, options).labels
            entry[f"less {against}"] = {one.label: plain(one.difference) for one in by_label}
        found[name] = entry
    pairs = [
        (f"{second} less {first}", compare(tables[first], tables[second], options).labels) for first, second in PAIRS
    ]
    adjusted = iter(holm([one.p for _, labels in pairs for one in labels]))
    found["against each other"] = {
        name: {one.label: plain(one.difference) | {"p_holm": next(adjusted)} for one in labels}
        for name, labels in pairs
    }
    given.out.mkdir(parents=True, exist_ok=True)
    write_json(given.out / f"{given.study}.json", found)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

"""Row 15: AUROC of 14 labels on 25,596 images with a bootstrap of 1,000 replicates by patient.

The labels and patients are those of ChestX-ray14's official test list where its table lies in `../shared/data`,
otherwise drawn with the same counts.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from benchmarks.speed.measure import one_thread, paired
from resight.evaluation import bootstrap, patient_index
from resight.evaluation.discrimination import ranking
from resight.evaluation.resampling import Statistic

REPLICATES, OF_PEER = 1000, 4
DATA = Path(__file__).parents[3] / "shared" / "data" / "chestxray14_metadata"


def main() -> None:
    one_thread()
    targets, patients, n_patients = _cohort()
    scores = np.random.default_rng(0).standard_normal(targets.shape) + 0.8 * targets
    # who is drawn how often, told by the bootstrap itself
    identity = Statistic(_eye(n_patients), lambda sums: {str(k): row for k, row in enumerate(sums)})
    (draws,) = bootstrap([identity], n_patients, replicates=OF_PEER, seed=0)
    drawn = np.stack([draws[str(k)] for k in range(n_patients)]).astype(int)

    def by_scikit_learn() -> np.ndarray:
        found = np.empty((OF_PEER, targets.shape[1]))
        for replicate in range(OF_PEER):
            rows = np.repeat(np.arange(len(patients)), drawn[patients, replicate])
            for label in range(targets.shape[1]):
                found[replicate, label] = roc_auc_score(targets[rows, label], scores[rows, label])
        return found

    def ours(replicates: int = REPLICATES) -> np.ndarray:
        columns = range(targets.shape[1])
        statistics = [ranking(targets[:, k], scores[:, k]).by_patient(patients, n_patients) for k in columns]
        found = bootstrap(statistics, n_patients, replicates=replicates, seed=0)
        return np.stack([each["auroc"] for each in found], axis=1)

    paired(
        "15",
        f"14 AUROCs, {len(targets):,} images, {REPLICATES:,} replicates by patient",
        {"scikit-learn, loop": by_scikit_learn, "Resight": ours},
        times={"scikit-learn, loop": REPLICATES / OF_PEER},
        must=50.0,
        difference=float(np.abs(ours(OF_PEER) - by_scikit_learn()).max()),
        tolerance=1e-12,
        unit="of an AUROC, same draws",
        budget_s=10.0,
        least=3,
        libraries=("scikit-learn", "numpy", "scipy"),
        note=f"scikit-learn ran {OF_PEER} replicates of {REPLICATES:,}; ours also gives AUPRC",
    )


def _cohort() -> tuple[np.ndarray, np.ndarray, int]:
    rng = np.random.default_rng(1)
    if DATA.is_dir():
        table = pd.read_csv(DATA / "Data_Entry_2017_v2020.csv.gz")
        listed = set(gzip.decompress((DATA / "test_list.txt.gz").read_bytes()).decode().split())
        table = table[table["Image Index"].isin(listed)]
        findings = table["Finding Labels"].str.split("|")
        names = sorted({name for row in findings for name in row} - {"No Finding"})
        targets = np.array([[name in row for name in names] for row in findings], dtype=float)
        patients, count = patient_index(table["Patient ID"].to_numpy())
        return targets, patients, count
    shares = np.geomspace(0.003, 0.24, 14)
    return (rng.random((25_596, 14)) < shares).astype(float), *patient_index(rng.integers(0, 2797, 25_596))


def _eye(count: int):
    from scipy.sparse import csr_array

    return csr_array((np.ones(count), (np.arange(count), np.arange(count))), shape=(count, count))


if __name__ == "__main__":
    main()

"""Rows 13 and 14: closed-form solves and a generation of bats."""

from __future__ import annotations

import numpy as np
from scipy import linalg
from sklearn.linear_model import Ridge

from benchmarks.speed.measure import one_thread, paired
from resight.heads.elm import ELM
from resight.heads.ridge import fit_ridge
from resight.training.hidden_search import LeftOutError

PENALTIES = np.logspace(-4, 3, 12).tolist()
BATS, FOLDS = 20, 5


def main() -> None:
    one_thread()
    rng = np.random.default_rng(0)
    H = 1 / (1 + np.exp(-(rng.standard_normal((2000, 64)) @ rng.uniform(-1, 1, (64, 1000)))))
    T = rng.choice([-1.0, 1.0], (2000, 2))
    syrk64, syrk32 = (linalg.get_blas_funcs("syrk", dtype=kind) for kind in (np.float64, np.float32))
    potrf32 = linalg.get_lapack_funcs("potrf", dtype=np.float32)
    ridge = Ridge(alpha=1e-6, fit_intercept=False, solver="cholesky")
    oracle = np.linalg.lstsq(H, T, rcond=None)[0]
    paired(
        "13",
        "output weights, 2000 samples, 1000 nodes",
        {
            "numpy lstsq": lambda: np.linalg.lstsq(H, T, rcond=None)[0],
            "Resight": lambda: fit_ridge(H, T, [1e-6])[0].coefficients,
            "numpy pinv": lambda: np.linalg.pinv(H) @ T,
            "scikit-learn Ridge, Cholesky": lambda: ridge.fit(H, T).coef_,
            "float64 Gram matrix alone": lambda: syrk64(1.0, H.T),
            "float32 Gram matrix and factor alone": lambda: potrf32(syrk32(1.0, H.T.astype(np.float32)))[0],
        },
        must=8.0,
        difference=float(np.abs(H @ fit_ridge(H, T, [1e-6])[0].coefficients - H @ oracle).max()),
        tolerance=1e-5,
        unit="of an output between -1 and 1",
        libraries=("numpy", "scipy", "scikit-learn"),
    )

    def naive_path() -> list[np.ndarray]:
        return [np.linalg.solve(H.T @ H + penalty * np.eye(1000), H.T @ T) for penalty in PENALTIES]

    pairs = zip(fit_ridge(H, T, PENALTIES), naive_path(), strict=True)
    paired(
        "13b",
        "the same for 12 ridge values",
        {"numpy solve, one by one": naive_path, "Resight": lambda: fit_ridge(H, T, PENALTIES)},
        must=3.0,
        difference=max(float(np.abs(fit.coefficients - weights).max()) for fit, weights in pairs),
        tolerance=1e-8,
        unit="of an output weight",
        libraries=("numpy", "scipy"),
    )
    _bats(rng)


def _bats(rng: np.random.Generator) -> None:
    for letter, n, nodes in (("", 160, 100), ("b", 640, 400)):
        X = rng.standard_normal((n, 512))
        targets = np.where(X[:, 0] + rng.standard_normal(n) > 0, 1.0, -1.0)[:, None]
        folds = rng.integers(0, FOLDS, n)
        layers = [(rng.uniform(-1, 1, (512, nodes)) * 0.08, rng.uniform(-1, 1, nodes)) for _ in range(BATS)]

        def naive(X=X, targets=targets, folds=folds, layers=layers) -> list[float]:
            errors = []
            for W, b in layers:
                H, out = 1 / (1 + np.exp(-(X @ W + b))), np.empty_like(targets)
                for fold in range(FOLDS):
                    held = folds == fold
                    out[held] = H[held] @ (np.linalg.pinv(H[~held]) @ targets[~held])
                errors.append(float(((out - targets) ** 2).mean()))
            return errors

        def generation(X=X, targets=targets, folds=folds, layers=layers) -> list[float]:
            fitness = LeftOutError(X, targets, np.ones(len(X)), folds, "squared")
            return [fitness(ELM(hidden_weights=W, hidden_bias=b, ridge=1e-9)) for W, b in layers]

        paired(
            f"14{letter}",
            f"one generation of {BATS} bats, {n} samples, {nodes} nodes, {FOLDS} folds",
            {"numpy pinv, loop": naive, "Resight": generation},
            must=3.0,
            difference=float(np.max(np.abs(np.divide(generation(), naive()) - 1))),
            tolerance=1e-6,
            unit="of an error",
            libraries=("numpy", "scipy"),
        )


if __name__ == "__main__":
    main()

"""How fast randomised networks are solved: least squares, several ridge values, a generation of bats.

    OMP_NUM_THREADS=1 python benchmarks/closed_form.py

Processor time of one thread, candidates interleaved, medians of paired ratios; both sides are checked to give the same
numbers. Writes results/closed_form.json and .md beside this file.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from resight.heads.elm import ELM
from resight.heads.ridge import fit_ridge
from resight.training.hidden_search import LeftOutError

RESULTS = Path(__file__).parent / "results"
PENALTIES = np.logspace(-4, 3, 12)


def ratio(naive: Callable[[], object], ours: Callable[[], object], repeats: int = 9) -> tuple[float, float, float]:
    """Median seconds of both and the median of their paired ratios."""
    times = np.array([[_seconds(naive), _seconds(ours)] for _ in range(repeats)])
    return (*np.median(times, axis=0).tolist(), float(np.median(times[:, 0] / times[:, 1])))


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def sigmoid_features(rng: np.random.Generator, n: int, features: int, nodes: int) -> np.ndarray:
    return 1 / (1 + np.exp(-(rng.standard_normal((n, features)) @ rng.uniform(-1, 1, (features, nodes)))))


def main() -> None:
    rng = np.random.default_rng(0)
    H, T = sigmoid_features(rng, 2000, 64, 1000), rng.choice([-1.0, 1.0], (2000, 2))
    eye = np.eye(1000)

    def naive_path() -> list[np.ndarray]:
        return [np.linalg.solve(H.T @ H + penalty * eye, H.T @ T) for penalty in PENALTIES]

    rows: dict[str, tuple[float, float, float]] = {}
    differences: dict[str, float] = {}

    rows["2000 x 1000, numpy lstsq"] = ratio(lambda: np.linalg.lstsq(H, T, rcond=None), lambda: fit_ridge(H, T, [1e-6]))
    ours, oracle = fit_ridge(H, T, [1e-6])[0].coefficients, np.linalg.lstsq(H, T, rcond=None)[0]
    differences["2000 x 1000, numpy lstsq"] = float(np.abs(H @ ours - H @ oracle).max())

    rows["12 ridge values, one np.linalg.solve each"] = ratio(naive_path, lambda: fit_ridge(H, T, PENALTIES.tolist()))
    differences["12 ridge values, one np.linalg.solve each"] = max(
        float(np.abs(fit.coefficients - b).max())
        for fit, b in zip(fit_ridge(H, T, PENALTIES.tolist()), naive_path(), strict=True)
    )

    for n, nodes in ((160, 100), (640, 400)):  # a small brain study and a larger one, 512 features of a ResNet-18
        X = rng.standard_normal((n, 512))
        y = (X[:, 0] + rng.standard_normal(n) > 0).astype(int)
        targets = np.where(y == 1, 1.0, -1.0)[:, None]
        folds = rng.integers(0, 5, n)
        layers = [(rng.uniform(-1, 1, (512, nodes)) * 0.08, rng.uniform(-1, 1, nodes)) for _ in range(20)]

        def naive(X=X, targets=targets, folds=folds, layers=layers) -> list[float]:
            errors = []
            for W, b in layers:
                H = 1 / (1 + np.exp(-(X @ W + b)))
                out = np.empty_like(targets)
                for fold in range(5):
                    test = folds == fold
                    out[test] = H[test] @ (np.linalg.pinv(H[~test]) @ targets[~test])
                errors.append(float(((out - targets) ** 2).mean()))
            return errors

        def generation(X=X, targets=targets, folds=folds, layers=layers) -> list[float]:
            fitness = LeftOutError(X, targets, np.ones(len(X)), folds, "squared")
            return [fitness(ELM(hidden_weights=W, hidden_bias=b, ridge=1e-9)) for W, b in layers]

        name = f"20 bats, {n} samples, {nodes} nodes, 5 folds, pinv loop"
        rows[name] = ratio(naive, generation, repeats=5)
        differences[name] = float(np.max(np.abs(np.divide(generation(), naive()) - 1)))

    lines = [
        "# Closed form against the plain way",
        "",
        "Processor time of one thread (`benchmarks/closed_form.py`); ratio is the median of interleaved pairs.",
        "",
        "| work, plain way | plain s | Resight s | times faster | largest difference |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {k} | {a:.3f} | {b:.3f} | {r:.1f} | {differences[k]:.1e} |" for k, (a, b, r) in rows.items()]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "closed_form.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (RESULTS / "closed_form.json").write_text(
        json.dumps({"seconds_plain_ours_ratio": rows, "differences": differences}, indent=1) + "\n", encoding="utf-8"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()

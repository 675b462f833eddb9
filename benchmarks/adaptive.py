"""What exits and gates save, and what they cost: AUROC against FLOPs and against measured time.

    python benchmarks/adaptive.py --development
    python benchmarks/adaptive.py

A ResNet-18 of half width is trained as it is, with exits after stages 1 to 3, and with gates, on the phantom cohort
and on children's chest X-rays, for 16 epochs each. Each seed has another split and other weights. Limits and thresholds
are fitted on the validation images; figures are from the test images, differences paired image by image. Exits that are
*matched* also learn the last classifier's logits. Networks that learn without exits or gates for the first 8 epochs
(*started*) were compared on the validation images of another seed (`--development`). Time is processor time of one
thread for one image alone, taking turns with the plain network. Finished runs are kept in `runs.json`, so that the
command goes on where it stopped.
"""

import argparse
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import torch
from adaptive_page import page
from resumable import finish

from resight.blocks import ResidualUnit
from resight.cohorts import PhantomOptions, write_phantom
from resight.errors import SettingsError
from resight.evaluation import BudgetPoint, EvaluationOptions, Left, compare, evaluate, mean_auroc
from resight.experiments import ExperimentSettings
from resight.experiments.budgets import study_budgets
from resight.experiments.judge import judge
from resight.experiments.members import Ensemble, train_members
from resight.experiments.prepare import Prepared, prepare
from resight.models import Classifier
from resight.models.adaptive import measure_costs, run_within
from resight.predictions import Predictions, scores_of
from resight.settings import validate
from resight.types import MetricValue, silent

SEEDS = (0, 1, 2)
DEVELOPMENT = 9
BUDGETS = (0.7, 0.8, 0.65, 0.6, 0.5)
EPOCHS = 16
BACKBONE = {"name": "resnet", "depth": 18, "width": 32}
EXITS = {"after": ["stage1", "stage2", "stage3"]}
MATCHED = {**EXITS, "matching": 0.05}
FEWER = {"backbone": {**BACKBONE, "gate_target": 0.6}}
FIRST = "first half"
MODELS = {
    FIRST: {"backbone": BACKBONE},
    "plain": {"backbone": BACKBONE},
    "exits": {"backbone": BACKBONE, "exits": EXITS},
    "exits, matched": {"backbone": BACKBONE, "exits": MATCHED},
    "exits, started": {"backbone": BACKBONE, "exits": EXITS},
    "exits, started and matched": {"backbone": BACKBONE, "exits": MATCHED},
    "gates to 0.6": FEWER,
    "gates to 0.6, started": FEWER,
    "both": {"backbone": {**BACKBONE, "gate_target": 0.8}, "exits": MATCHED},
}
JUDGED = ("plain", "both", "exits, matched", "exits", "gates to 0.6")
DEVELOPED = tuple(model for model in MODELS if model not in (FIRST, "exits, matched", "both"))
FINDINGS = ("Cardiomegaly", "Effusion", "Mass", "Pneumothorax")
SIZE_PX = 96
SPLITS = ("train", "validation", "test")
TIMED, REPEATS, PROFILED = 64, 5, 64


def cohorts(scratch: Path) -> dict[str, tuple[dict[str, object], list[float]]]:
    """Each cohort, and the shares of its parts."""
    phantom = scratch / "phantom"
    if not (phantom / "cohort.csv").exists():
        options = PhantomOptions(images=1600, size_px=SIZE_PX, findings=FINDINGS, prevalence=0.25, seed=0)
        write_phantom(options, phantom)
    pneumonia = "../shared/data/cxr_pneumonia_kermany/index.csv"
    return {
        "phantom": ({"path": str(phantom / "cohort.csv"), "labels": FINDINGS}, [0.45, 0.2, 0.35]),
        "pneumonia": ({"path": pneumonia, "label_column": "label", "positive": "PNEUMONIA"}, [0.55, 0.2, 0.25]),
    }


def trained(name: str, model: str, seed: int, scratch: Path) -> tuple[ExperimentSettings, Prepared, Ensemble]:
    """A network from its checkpoints, trained as far as it is not yet; one that is started starts from another."""
    (cohort, fractions), options = cohorts(scratch)[name], dict(MODELS[model])
    if "started" in model:
        trained(name, FIRST, seed, scratch)
        options["weights"] = str(folder_of(name, FIRST, seed, scratch) / "member-0" / "best.safetensors")
    epochs = EPOCHS // 2 if model == FIRST or "started" in model else EPOCHS
    settings = validate(
        ExperimentSettings,
        {
            "cohort": cohort,
            "split": {"fractions": fractions, "seed": seed},
            "recipe": {"size_px": [SIZE_PX, SIZE_PX], "channels": 1},
            "augmentation": {"rotate_deg": 5.0, "scale": 0.05, "translate": 0.03, "gain": 0.1},
            "model": options,
            "training": {"epochs": epochs, "precision": "bf16", "threads": 1, "seed": seed},
            "evaluation": {"bootstrap": 200},
            "budget": {"timed_images": 0},
            "store": {"folder": str(scratch / "store" / name)},
        },
        where="benchmarks/adaptive.py",
    )
    prepared = prepare(settings, scratch / "store" / name, silent)
    folder = folder_of(name, model, seed, scratch)
    return settings, prepared, train_members(settings, prepared, folder, resume=True, progress=silent)


def folder_of(name: str, model: str, seed: int, scratch: Path) -> Path:
    """Where the checkpoints of a network are."""
    return scratch / f"{name}-{model.replace(',', '').replace(' ', '-')}-{seed}"


def one_run(name: str, model: str, seed: int, scratch: Path, *, development: bool) -> dict[str, object]:
    """Everything that is told of one network; of the validation images alone in development."""
    settings, prepared, ensemble = trained(name, model, seed, scratch)
    if model == "plain":
        rows, cohort = ensemble.validation, prepared.cohort
        auroc = mean_auroc(ensemble.logits[rows], cohort.targets()[rows], cohort.mask()[rows])
        found = {"validation": auroc, "images": {split: int(prepared.in_split(split).sum()) for split in SPLITS}}
        return found if development else found | {"auroc": _auroc(answers(prepared, ensemble))}
    judged = judge(settings, prepared, ensemble)
    study = study_budgets(settings, prepared, ensemble, judged, silent)
    assert study is not None
    points = study.budgets.points
    found = {
        "validation": study.budgets.whole_auroc,
        "points": [{"share": point.share, "validation": point.auroc} for point in points],
    }
    if development:
        return found
    network, plain_network = ensemble.models[0].eval(), trained(name, "plain", seed, scratch)[2]
    whole, plain_table = answers(prepared, ensemble), answers(prepared, plain_network)
    found |= {"auroc": _auroc(whole), "less plain": difference(plain_table, whole), "budgets": {}}
    images = [torch.from_numpy(np.array(prepared.store[int(row)])[None]) for row in rows_of_test(prepared)]
    found["calls"] = {"whole": calls(network, network, images[:PROFILED])}
    costs = measure_costs(network, (1, SIZE_PX, SIZE_PX))
    for budget in BUDGETS:
        try:
            point = study.budgets.choose(budget, where=name)
        except SettingsError as error:
            found["budgets"][str(budget)] = {"none": str(error)}
            continue

        def within(image: torch.Tensor, point: BudgetPoint = point) -> Left:
            return run_within(network, image, point, study.budgets.deciding, prepared.cohort.task, costs)

        result = study.results[points.index(point)]
        with torch.inference_mode():
            left = within(torch.cat(images))
        table = answers(prepared, ensemble, left.probabilities)
        found["budgets"][str(budget)] = {
            "share": float(left.share.mean()),
            "auroc": _auroc(table),
            "less plain": difference(plain_table, table),
            "less itself": difference(whole, table),
            "groups": len(result.groups),
            "groups that fall": [str(g) for g in result.groups if g.high is not None and g.high < 0],
            "named when used": result.falls,
            "exits": result.exits,
            "time": took(plain_network.models[0].eval(), within, images[:TIMED]),
            "calls": calls(network, within, images[:PROFILED]),
        }
    return found


def rows_of_test(prepared: Prepared) -> np.ndarray:
    """Of the store."""
    return prepared.rows[prepared.in_split("test")]


def answers(prepared: Prepared, ensemble: Ensemble, probabilities: np.ndarray | None = None) -> Predictions:
    """The test images with probabilities of a budget, or of the network as it is."""
    test = prepared.in_split("test")
    cohort = prepared.cohort.rows(test)
    if probabilities is None:
        probabilities = scores_of(ensemble.logits[test], cohort.task)
    return Predictions.from_arrays(
        cohort.table[["image", "patient_id"]].reset_index(drop=True),
        cohort.labels,
        cohort.task,
        score=probabilities,
        probability=probabilities,
        target=cohort.targets(),
    )


def _auroc(table: Predictions) -> float:
    return evaluate(table, EvaluationOptions(bootstrap=0)).macro["auroc"].value


def difference(before: Predictions, after: Predictions) -> MetricValue:
    """Of the mean AUROC over labels, paired, with an interval by patient."""
    found = compare(before, after, EvaluationOptions(bootstrap=400))
    return found.labels[0].difference if len(after.labels) == 1 else found.macro


def took(
    network: Classifier, within: Callable[[torch.Tensor], Left], images: list[torch.Tensor]
) -> dict[str, float | int]:
    """Processor milliseconds of one image alone, both ways in turn; median of the repeats, mean over images."""
    spent = np.empty((2, REPEATS, len(images)))
    with torch.inference_mode():
        network(images[0]), within(images[0])  # the first one warms up
        for repeat in range(REPEATS):
            for number, image in enumerate(images):
                for way, run in enumerate((network, within)):
                    began = time.process_time()
                    run(image)
                    spent[way, repeat, number] = 1000 * (time.process_time() - began)
    plain_ms, ms = np.median(spent, axis=1).mean(axis=1)
    return {"plain ms": plain_ms, "ms": ms, "gain": plain_ms / ms, "images": len(images)}


def calls(network: Classifier, run: Callable[[torch.Tensor], object], images: list[torch.Tensor]) -> dict[str, int]:
    """How often the branch of each residual unit, and each exit, is computed for the images, one by one."""
    parts = {name: unit.conv1 for name, unit in network.backbone.named_modules() if isinstance(unit, ResidualUnit)}
    parts |= {f"exit after {name}": part for name, part in network.exits.named_children()}
    counts = dict.fromkeys(parts, 0)

    def counting(name: str) -> Callable[..., None]:
        def hook(*_: object) -> None:
            counts[name] += 1

        return hook

    hooks = [part.register_forward_hook(counting(name)) for name, part in parts.items()]
    with torch.inference_mode():
        for image in images:
            run(image)
    for hook in hooks:
        hook.remove()
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--development", action="store_true", help="another seed, validation images only")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/adaptive"))
    parser.add_argument("--scratch", type=Path, default=Path("runs/adaptive"))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after that")
    given = parser.parse_args()
    torch.set_num_threads(1)
    models, seeds = (DEVELOPED, (DEVELOPMENT,)) if given.development else (JUDGED, SEEDS)
    names = ["/".join((name, model, str(seed))) for model, seed, name in product(models, seeds, cohorts(given.scratch))]

    def run(key: str) -> dict[str, object]:
        name, model, seed = key.split("/")
        return one_run(name, model, int(seed), given.scratch, development=given.development)

    kept = given.out / ("development.json" if given.development else "runs.json")
    runs = finish(kept, names, run, minutes=given.minutes)
    if not given.development:
        words = (__doc__ or "").split("\n\n")[2]
        (given.out / "adaptive.md").write_text(page(words, runs, BUDGETS), encoding="utf-8")


if __name__ == "__main__":
    main()

"""Skin lesions on ISIC-2017 part 3 (Codella et al., ISBI 2018; Rokad & Nagarajan 2019, which the review cites).

ResNets learn the three classes and, along with them, the features of an ImageNet network in every view they are shown
(extra `lite0`). Those of 50 layers and more begin with the first units of a network trained on CT (extra `ct152`).
Without the extras they learn from scratch and from labels alone.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

from resight.cohorts import load_isic2017
from resight.errors import CohortError
from resight.experiments.record import environment
from resight.protocols.base import PROTOCOLS, Surroundings
from resight.protocols.isic2017_options import ISIC2017Options, few_images, shortened
from resight.protocols.isic2017_output import ALL_PREDICTIONS, draw, write_all_predictions, write_test_predictions
from resight.protocols.isic2017_run import SkinRun
from resight.protocols.isic2017_words import QUESTION, WIDE, conclude, tables
from resight.protocols.study import Study
from resight.types import Cohort


@PROTOCOLS.register("isic2017", ISIC2017Options)
def isic2017(options: ISIC2017Options, *, surroundings: Surroundings) -> Study:
    """Train, measure on the validation images, and answer for the test images.

    Writes `test_predictions.csv` (`image_id, melanoma, seborrheic_keratosis`) of the ensemble with age and sex,
    `test_predictions_resnet.csv` of the ResNets alone, and `predictions.csv.gz` of every model.

    Args:
        options: which networks, how long.
        surroundings: `data` is the folder of the challenge or one with `index.csv`.

    Raises:
        CohortError: it is not ISIC-2017.
    """
    begin = time.monotonic()
    cohort = _load(surroundings.data, options.images)
    if surroundings.smoke:
        options, cohort = shortened(options), few_images(cohort, options.seed)
    run = SkinRun(options, surroundings, cohort)
    found = run.everything()
    for name, answers in (("test_predictions", found.final), ("test_predictions_resnet", found.resnet)):
        write_test_predictions(surroundings.out / f"{name}.csv", found.named(answers), cohort)
    write_all_predictions(surroundings.out / ALL_PREDICTIONS, found)
    page = tables(found)
    return Study(
        name="isic2017",
        title="Skin lesions: melanoma, seborrheic keratosis and nevus on ISIC-2017",
        question=QUESTION,
        tables=page,
        wide=tuple(heading for heading in page if heading.startswith(WIDE)),
        conclusions=(*conclude(found), *run.remarks),
        command=environment()["command"],
        pictures=draw(found, surroundings.out),
        record={
            "images": "; ".join(cohort.notes),
            "options": options.model_dump(mode="json"),
            "training seconds by model": {a.name: round(a.seconds) for a in found.answers if a.seconds},
            "predictions": f"`{ALL_PREDICTIONS}`: every model's probabilities for validation and test images",
            "seconds of this command": round(time.monotonic() - begin),
            **environment(),
        },
    )


def _load(data: Path, wanted: Literal["all", "present"]) -> Cohort:
    try:
        return load_isic2017(data, missing_images="error" if wanted == "all" else "drop")
    except CohortError as error:
        if wanted == "present" or "images are not there" not in error.found:
            raise
        fix = f"{error.fix} --option images=present goes on with those that are there."
        raise CohortError(error.found, where=error.where, expected=error.expected, fix=fix) from error

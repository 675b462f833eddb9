"""Phantoms whose answer no single input holds: image and table, two images of one patient, and times to an event.

CT and PET are each independent of the label by construction. Effusion and a high laboratory value each tell a little
(an AUROC of 0.6): without such a trace to begin from, a network hardly finds the rule that joins them. In the prognosis
each input holds half of the planted risk.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import pandas as pd
from jaxtyping import Float, UInt8
from pydantic import Field
from scipy.stats import norm

from resight.cohorts.phantom import render
from resight.cohorts.phantom_cases import PhantomOptions
from resight.errors import writing
from resight.settings import Options
from resight.types import Cohort

Combination = Literal["table", "modalities", "prognosis"]
Share = Annotated[float, Field(ge=0, le=1)]
Picture = UInt8[np.ndarray, "H W"]

_KINDS: tuple[Combination, ...] = ("table", "modalities", "prognosis")
_CELLS = 5
"""Places of nodules and hot spots along each axis."""
_RISK_PER_INPUT = 1.5
"""Log hazard ratio of the finding, and of one standard deviation of the laboratory value."""
_MEDIAN_DAYS, _FOLLOW_UP_DAYS = 900.0, 1500.0
_MORE_OFTEN = 0.6
"""Share with an effusion, and with a high laboratory value; at a half neither would tell anything alone."""
_STREAM = 7001
"""Keeps these random numbers apart from those of the phantom of findings."""


class CombinationOptions(Options):
    """Drawn patients whose label needs more than one input."""

    kind: Combination = Field(
        default="table",
        description="a label that only image and laboratory value together tell, one that only CT and PET together "
        "tell, or times to an event whose risk lies in image and laboratory value",
    )
    images: int = Field(default=600, ge=10, description="how many patients")
    size_px: int = Field(default=64, ge=32, le=512, description="height and width of the images")
    seed: int = Field(default=0, ge=0, description="another seed, another cohort")
    missing: Share = Field(default=0.0, description="share of laboratory values, or of PET images, that are missing")
    splits: tuple[Share, Share, Share] = Field(default=(0.6, 0.15, 0.25), description="train, validation, test")


def write_combination(options: CombinationOptions, folder: Path) -> Cohort:
    """Draw a cohort into a folder: images, `cohort.csv`, and `truth.csv` with what was planted.

    Raises:
        OutputError: the folder cannot be written.
    """
    rows: list[dict[str, Any]] = []
    truths: list[dict[str, Any]] = []
    with writing(folder):
        for part in ("ct", "pet") if options.kind == "modalities" else ("images",):
            (folder / part).mkdir(parents=True, exist_ok=True)
        for index in range(options.images):
            rng = np.random.default_rng((options.seed, _STREAM, _KINDS.index(options.kind), index))
            draw = _modalities if options.kind == "modalities" else _with_laboratory
            row, truth, pictures = draw(options, index, rng)
            for name, picture in pictures.items():
                (folder / name).write_bytes(cv2.imencode(".png", picture)[1].tobytes())
            rows.append(_person(options, index, rng) | row)
            truths.append(truth)
        table = pd.DataFrame(rows)
        table.to_csv(folder / "cohort.csv", index=False, lineterminator="\n")
        pd.DataFrame(truths).to_csv(folder / "truth.csv", index=False, lineterminator="\n")
    label = {"table": "Decompensation", "modalities": "Avid nodule", "prognosis": "died"}[options.kind]
    modalities = ("ct", "pet") if options.kind == "modalities" else ()
    if modalities:
        table = table.assign(image=table["ct"])
    return Cohort(table, (label,), "binary", folder, "phantom", ("Drawn by Resight.",), modalities)


def _person(options: CombinationOptions, index: int, rng: np.random.Generator) -> dict[str, Any]:
    place = (index + 0.5) * 0.6180339887498949 % 1.0
    train, validation, _ = options.splits
    split = "train" if place < train else "validation" if place < train + validation else "test"
    ward = ["medicine", "surgery", "emergency"][int(rng.integers(3))]
    return {"patient_id": f"P{index:05d}", "split": split, "ward": ward}


def _with_laboratory(
    options: CombinationOptions, index: int, rng: np.random.Generator
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Picture]]:
    """A chest X-ray with or without an effusion, and a laboratory value that knows nothing of it."""
    drawn = render(
        PhantomOptions(
            images=options.images,
            size_px=options.size_px,
            seed=options.seed,
            findings=("Effusion",),
            prevalence=_MORE_OFTEN,
            images_per_patient=1,
            difficulty=0.0,
            portable=0.0,
        ),
        index,
    )
    effusion, z = bool(drawn.truth["Effusion"]), float(rng.normal())
    value, measured = round(float(np.exp(5.5 + 0.8 * z)), 1), rng.random() >= options.missing
    name = f"images/{index:06d}.png"
    row: dict[str, Any] = {"image": name, "age": drawn.row["age"], "sex": drawn.row["sex"]}
    row["bnp_pg_ml"] = value if measured else np.nan
    truth: dict[str, Any] = {"image": name, "effusion": int(effusion), "bnp_pg_ml": value}
    if options.kind == "table":
        row["Decompensation"] = int(effusion != (z > float(norm.isf(_MORE_OFTEN))))
        return row, truth, {name: drawn.pixels}
    risk = _RISK_PER_INPUT * (float(effusion) - 0.5 + z)
    died_after = rng.exponential(_MEDIAN_DAYS / np.log(2)) * np.exp(-risk)
    seen_until = rng.uniform(0.2, 1.0) * _FOLLOW_UP_DAYS
    row |= {"days": round(float(min(died_after, seen_until)), 1), "died": int(died_after <= seen_until)}
    return row, truth | {"log_risk": risk}, {name: drawn.pixels}


def _modalities(
    options: CombinationOptions, index: int, rng: np.random.Generator
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Picture]]:
    """Two nodules in the CT and two hot spots in the PET image; the label says whether one of them is both."""
    cells = rng.permutation(_CELLS**2)[:4]
    places = (np.stack(np.divmod(cells, _CELLS), axis=1) + 0.5 + rng.uniform(-0.25, 0.25, (4, 2))) / _CELLS
    avid = bool(rng.random() < 0.5)
    nodules, spots = places[:2], places[[0, 2]] if avid else places[2:]
    ct = _picture(options.size_px, nodules, radius=0.035, sharpness=1.0, rng=rng)
    pet = _picture(options.size_px, spots, radius=0.05, sharpness=2.5, rng=rng)
    names = {part: f"{part}/{index:06d}.png" for part in ("ct", "pet")}
    with_pet = rng.random() >= options.missing
    pictures = {names["ct"]: ct} | ({names["pet"]: pet} if with_pet else {})
    row = {"ct": names["ct"], "pet": names["pet"] if with_pet else "", "Avid nodule": int(avid)}
    return row, {"ct": names["ct"], "pet": names["pet"], "avid": int(avid)}, pictures


def _picture(
    size_px: int, places: Float[np.ndarray, "K 2"], *, radius: float, sharpness: float, rng: np.random.Generator
) -> Picture:
    """Bright discs in a grey oval body with noise."""
    axis = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px
    y, x = axis[:, None], axis[None, :]
    film = np.where(((x - 0.5) / 0.5) ** 2 + ((y - 0.5) / 0.48) ** 2 < 1, np.float32(0.25), np.float32(0.05))
    for row, column in 0.1 + 0.8 * places:
        film = np.where((y - row) ** 2 + (x - column) ** 2 < radius**2, np.float32(0.9), film)
    film = cv2.GaussianBlur(np.ascontiguousarray(film), (0, 0), sharpness * size_px / 64)
    film += 0.03 * rng.standard_normal(film.shape, dtype=np.float32)
    return np.clip(255 * film, 1, 255).astype(np.uint8)

"""How fast a job went: over all, and by stage."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from resight.bulk.job import PartRecord
from resight.bulk.part import STAGES


@dataclass(frozen=True)
class BulkReport:
    """What a run of a job did.

    Attributes:
        out: the table.
        images: rows of the table are these, once for each label.
        failed: images that could not be used.
        repeated: mentions of an image that was listed before, left away.
        parts: all of them.
        parts_found: those that an earlier run had finished.
        images_per_s: of this run, from its first part to its last; NaN where nothing was left to do.
        stage_seconds: what each stage took in this run, added up over threads and processes.
        stage_images_per_s: images of this run by the seconds of the stage; NaN where it took no time.
        notes: what the user should know, one sentence each.
    """

    out: str
    images: int
    failed: int
    repeated: int
    parts: int
    parts_found: int
    images_per_s: float
    stage_seconds: dict[str, float]
    stage_images_per_s: dict[str, float]
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """The report for people, one sentence each."""
        found = f", {self.parts_found} of them found finished" if self.parts_found else ""
        lines = [f"{self.images} images in {self.parts} part{'' if self.parts == 1 else 's'}{found}"]
        if self.repeated:
            lines.append(f"{self.repeated} repeated mentions of images were left away")
        if not math.isnan(self.images_per_s):
            stages = [f"{n} {_rate(v)}" for n, v in self.stage_images_per_s.items() if not math.isnan(v)]
            lines.append(f"{_rate(self.images_per_s)} images/s; alone, by stage: {', '.join(stages)} images/s")
        return lines


def _rate(images_per_s: float) -> str:
    return f"{images_per_s:.0f}" if images_per_s >= 1000 else f"{images_per_s:.4g}"


def stage_rates(records: Iterable[PartRecord]) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each stage, and images by these seconds."""
    records = list(records)
    images = sum(record.images for record in records)
    seconds = {stage: sum(record.seconds.get(stage, 0.0) for record in records) for stage in STAGES}
    return seconds, {stage: images / spent if spent > 0 else math.nan for stage, spent in seconds.items()}

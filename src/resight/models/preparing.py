"""From files to what a network sees, read ahead while it works: pixels, or the reason why there are none."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

import numpy as np
from jaxtyping import Float

from resight.errors import BundleError, CohortError, ImageError
from resight.imaging import TONES, Sentinels, tone
from resight.models.clinical_rows import ClinicalRows
from resight.models.manifest import Manifest
from resight.models.sources import Unnamed, as_image, images_by_modality
from resight.types import Image, PreparedImage


@dataclass(frozen=True)
class Row:
    """One image on its way through: its name, and either its pixels or why there are none."""

    name: str
    prepared: PreparedImage | None = None
    clinical: Float[np.ndarray, " T"] | None = None
    alerts: str = ""
    error: str | None = None
    tone: tuple[float, ...] = (float("nan"),) * len(TONES)


class Preparer:
    """Reads sources as the recipe of a bundle says.

    Args:
        manifest: of the bundle.

    Raises:
        BundleError: its sentinels are of another version.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest, self._sentinels = manifest, _sentinels(manifest)

    def prepare(self, source: Unnamed, name: str) -> PreparedImage:
        """As `Predictor.prepare`."""
        recipe = self._manifest.recipe
        if isinstance(source, Mapping) or self._manifest.modalities:
            return recipe.stack(images_by_modality(source, self._manifest, name))
        if isinstance(source, str | Path):
            return recipe.prepare(Path(source))
        return recipe.apply(source if isinstance(source, Image) else as_image(source, self._manifest.dims, name))

    def chunks(
        self,
        named: Iterator[tuple[str, Unnamed]],
        clinical: ClinicalRows,
        *,
        batch: int,
        workers: int,
        prepare: Callable[[Unnamed, str], PreparedImage],
    ) -> Iterator[list[Row]]:
        """Batches of rows; the next one is read while the network works on this one.

        Args:
            named: names and sources.
            clinical: rows of the table.
            batch: rows at a time.
            workers: threads that prepare.
            prepare: `Predictor.prepare`, which a predictor of other sources has of its own.
        """
        row = partial(self._row, clinical=clinical, prepare=prepare)
        first = list(islice(named, 2))
        if len(first) < 2:  # nothing to read ahead: a single image is not worth a thread
            yield from ([row(name, source)] for name, source in first)
            return
        named = chain(first, named)
        with ThreadPoolExecutor(workers) as pool:
            ahead: deque[list[Future[Row]]] = deque()
            while chunk := list(islice(named, batch)):
                ahead.append([pool.submit(row, name, source) for name, source in chunk])
                if len(ahead) > 1:
                    yield [future.result() for future in ahead.popleft()]
            yield from ([future.result() for future in futures] for futures in ahead)

    def _row(
        self, name: str, source: Unnamed, *, clinical: ClinicalRows, prepare: Callable[[Unnamed, str], PreparedImage]
    ) -> Row:
        try:
            prepared, (encoded, known) = prepare(source, name), clinical.row(name)
        except (ImageError, CohortError) as error:
            return Row(name, error=str(error))
        flags = self._sentinels.check(prepared) if self._sentinels else ()
        alerts = "; ".join([*(flag.name for flag in flags), *([] if known else ["no clinical data"])])
        return Row(name, prepared, encoded, alerts, tone=tuple(tone(prepared).values()))


def _sentinels(manifest: Manifest) -> Sentinels | None:
    try:
        return None if manifest.sentinels is None else Sentinels.from_dict(manifest.sentinels)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"its sentinels cannot be used ({error!r})", where=manifest.name) from error

"""Images of many callers through the network together: whoever waits first waits least."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from resight.errors import ResightError
from resight.models import Predictor
from resight.types import Image

_STOP_S: Final = 60.0


@dataclass(frozen=True)
class Answer:
    """What a model says of one image; numbers in the order of its labels, None where there is no such number.

    Attributes:
        logits: of the network.
        scores: uncalibrated.
        probabilities: calibrated; None for a model without calibration.
        decisions: 1 or 0 at the operating point; None for a model without one.
        alerts: what the sentinels noticed.
        error: why the image could not be used; empty where it could.
    """

    logits: tuple[float, ...] = ()
    scores: tuple[float, ...] = ()
    probabilities: tuple[float, ...] | None = None
    decisions: tuple[int, ...] | None = None
    alerts: tuple[str, ...] = ()
    error: str = ""


@dataclass(frozen=True, eq=False)
class _Waiting:
    image: Image
    point: str | None
    answer: Future[Answer]


class Batcher:
    """One thread that puts waiting images into batches.

    Args:
        predictor: answers.
        batch: most images at once.
        wait_s: how long the first image waits for others.
    """

    def __init__(self, predictor: Predictor, *, batch: int, wait_s: float) -> None:
        self._predictor, self._batch, self._wait_s = predictor, batch, wait_s
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue()
        self._closed = False
        self._door = threading.Lock()
        """Nothing is put behind the mark that ends the work, where nobody would answer it."""
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._thread.start()

    def predict(self, images: list[Image], point: str | None) -> list[Answer]:
        """Answers to some images, in order.

        Raises:
            ResightError: the batcher has been closed, or the model failed.
        """
        waiting = [_Waiting(image, point, Future()) for image in images]
        with self._door:
            if self._closed:
                raise ResightError("the model is no longer in service", fix="Ask again.")
            for one in waiting:
                self._waiting.put(one)
        return [one.answer.result() for one in waiting]

    def close(self) -> None:
        """Answer what waits, then stop."""
        with self._door:
            self._closed = True
            self._waiting.put(None)
        self._thread.join(_STOP_S)

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            together = [first]
            until = time.monotonic() + self._wait_s
            while len(together) < self._batch:
                try:
                    more = self._waiting.get(timeout=max(until - time.monotonic(), 0))
                except queue.Empty:
                    break
                if more is None:
                    self._waiting.put(None)
                    break
                together.append(more)
            for point in dict.fromkeys(one.point for one in together):
                self._answer([one for one in together if one.point == point], point)

    def _answer(self, together: list[_Waiting], point: str | None) -> None:
        images = [replace(one.image, source_id=str(number)) for number, one in enumerate(together)]
        try:
            found = self._predictor.predict(images, operating_point=point, batch=self._batch, workers=1)
            facts = found.images()
            numbers = {name: found.array(name) for name in ("logit", "score")}
            optional = {name: found.array(name) if found.has(name) else None for name in ("probability", "decision")}
        except Exception as error:  # noqa: BLE001 - whoever waits has to be told, whatever it was
            for one in together:
                one.answer.set_exception(error)
            return
        for row, one in enumerate(together):
            problem = facts["error"].iloc[row]
            if isinstance(problem, str) and problem:
                one.answer.set_result(Answer(error=problem.removeprefix(f"{row}: ")))
                continue
            probabilities, decisions = optional["probability"], optional["decision"]
            alerts = tuple(filter(None, str(facts["alerts"].iloc[row]).split("; ")))
            one.answer.set_result(
                Answer(
                    logits=_floats(numbers["logit"][row]),
                    scores=_floats(numbers["score"][row]),
                    probabilities=None if probabilities is None else _floats(probabilities[row]),
                    decisions=None if decisions is None else tuple(int(value) for value in decisions[row]),
                    alerts=alerts,
                )
            )


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)

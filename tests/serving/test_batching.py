"""Who asks is answered or told, also at the moment a model is exchanged."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from resight.errors import ResightError
from resight.models import Predictor
from resight.serving.batching import Answer, Batcher
from resight.types import Image


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor.load(Path(__file__).parents[1] / "golden" / "bundle_v1", device="cpu", engine="torch")


def image() -> Image:
    return Image(np.full((1, 32, 32), 90, np.uint8), (1.0, 1.0), "DX", "x")


def test_a_model_that_is_closed_while_somebody_asks_answers_first(predictor: Predictor) -> None:
    batcher = Batcher(predictor, batch=4, wait_s=0)
    put, closing = batcher._waiting.put, threading.Thread(target=batcher.close)

    def slow_put(item: object) -> None:
        if item is not None and not closing.is_alive():
            closing.start()
            time.sleep(0.3)  # long enough for the end to be marked, if nothing kept it back
        put(item)  # type: ignore[arg-type]

    batcher._waiting.put = slow_put  # type: ignore[method-assign]
    answers: list[Answer] = []
    asking = threading.Thread(target=lambda: answers.extend(batcher.predict([image()], None)), daemon=True)
    asking.start()
    asking.join(timeout=20)
    assert [bool(one.scores) for one in answers] == [True]
    closing.join(timeout=30)
    assert not batcher._thread.is_alive()
    with pytest.raises(ResightError, match="no longer in service"):
        batcher.predict([image()], None)

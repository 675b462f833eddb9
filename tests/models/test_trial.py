"""An engine that ends its process, or never answers, is one clear error here."""

from __future__ import annotations

from pathlib import Path

import pytest

from resight.errors import BundleError
from resight.models import trial


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"ends the process that opens it \(SIGSEGV\)"),
        ("import os; os._exit(3)", r"ends the process that opens it \(code 3\)"),
        ("import time; time.sleep(60)", "no answer within 2 s"),
    ],
)
def test_what_ends_a_process_is_told(
    program: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_PROGRAM", program)
    monkeypatch.setattr(trial, "_LIMIT_S", 2.0)
    with pytest.raises(BundleError, match=reason):
        trial.try_apart(tmp_path, "onnx", "fp32", (1, 8, 8))


def test_what_raises_an_exception_does_so_in_our_own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_PROGRAM", "raise ValueError")
    trial.try_apart(tmp_path, "onnx", "fp32", (1, 8, 8))


def test_the_other_process_asks_for_one_image_and_for_several(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, ...]] = []

    class Engine:
        def logits(self, prepared):
            asked.append(prepared.shape)

    monkeypatch.setattr(trial.ENGINES, "build", lambda *_, **__: Engine())
    trial.open_once("there", "onnx", "fp32", "1,8,8")
    assert asked == [(1, 1, 8, 8), (8, 1, 8, 8)]


def test_another_processor_or_library_is_another_surrounding(monkeypatch: pytest.MonkeyPatch) -> None:
    here = trial.surroundings("openvino")
    assert here == trial.surroundings("openvino") != trial.surroundings("onnx")
    monkeypatch.setattr(trial, "version", lambda _: "0.0")
    other_library = trial.surroundings("openvino")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert len({here, other_library, trial.surroundings("openvino")}) == 3

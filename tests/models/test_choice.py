"""Which engine answers: measured, checked against the network, and said."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from resight.errors import BundleError, DependencyError, SettingsError
from resight.models import Predictor, choice, choose_engine, export_bundle, load_bundle
from resight.models.checksums import write_sealed
from resight.models.engine_onnx import OnnxEngine
from resight.models.engine_openvino import OpenvinoEngine

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("choice") / "bundle"
    shutil.copytree(Path(__file__).parents[1] / "golden" / "bundle_v1", folder)
    for engine, precision in (("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16")):
        export_bundle(folder, engine, precision)
    return folder


@pytest.fixture
def bundle(golden: Path, tmp_path: Path) -> Path:
    shutil.copytree(golden, tmp_path / "bundle")
    return tmp_path / "bundle"


def slowed(monkeypatch: pytest.MonkeyPatch, kind: type, seconds: float = 0.05) -> None:
    original = kind.logits

    def logits(self, prepared):
        time.sleep(seconds)
        return original(self, prepared)

    monkeypatch.setattr(kind, "logits", logits)


def test_without_exports_pytorch_answers_and_nothing_is_said(bundle: Path) -> None:
    shutil.rmtree(bundle / "engines")
    choice = choose_engine(bundle, load_bundle(bundle), CPU)
    assert (choice.engine.name, choice.notes) == ("torch", ())


def test_the_faster_engine_is_found_by_measuring(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slowed(monkeypatch, OnnxEngine)
    slowed(monkeypatch, OpenvinoEngine, 0.1)
    choice = choose_engine(bundle, load_bundle(bundle), CPU)
    assert choice.engine.name == "torch"
    assert any("onnx fp32 0." in note for note in choice.notes)

    from resight.models.engine import TorchEngine

    slowed(monkeypatch, TorchEngine, 0.2)
    choice = choose_engine(bundle, load_bundle(bundle), CPU)
    assert choice.engine.name == "onnx"
    assert "onnx fp32 answers" in choice.notes[-1]


def test_an_engine_that_answers_otherwise_on_this_machine_is_not_used(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = OnnxEngine.logits
    monkeypatch.setattr(OnnxEngine, "logits", lambda self, prepared: original(self, prepared) + 1)
    with pytest.raises(BundleError, match="its logits differ by 1 from the network's on this machine"):
        Predictor.load(bundle, engine="onnx")
    predictor = Predictor.load(bundle, engine="auto")
    assert predictor.engine.name != "onnx"
    assert any("onnx-fp32 is passed over: its logits differ" in note for note in predictor.engine_notes)


@pytest.mark.parametrize("answer", [np.nan, np.inf])
def test_an_engine_without_numbers_is_not_used(bundle: Path, monkeypatch: pytest.MonkeyPatch, answer: float) -> None:
    n_labels = len(load_bundle(bundle).manifest.labels)
    monkeypatch.setattr(OnnxEngine, "logits", lambda self, prepared: np.full((len(prepared), n_labels), answer))
    with pytest.raises(BundleError, match="its logits differ"):
        Predictor.load(bundle, engine="onnx")


def test_where_engines_are_not_installed_pytorch_answers_and_says_so(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, library, None)
    predictor = Predictor.load(bundle, engine="auto")
    assert predictor.engine.name == "torch"
    assert "onnx-fp32 is passed over: the library 'onnxruntime' is not installed" in predictor.engine_notes[0]
    assert predictor.engine_notes[-1] == "PyTorch answers"
    with pytest.raises(DependencyError, match=r"pip install 'resight\[export\]'"):
        Predictor.load(bundle, engine="onnx")


def test_coarser_numbers_are_taken_only_where_allowed(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from resight.models.engine import TorchEngine

    for kind in (TorchEngine, OnnxEngine):
        slowed(monkeypatch, kind)
    assert Predictor.load(bundle, engine="auto").engine.precision == "fp32"
    shutil.rmtree(bundle / "engines" / "openvino-fp32")
    choice = choose_engine(bundle, load_bundle(bundle), CPU, "auto", "fp32")
    assert choice.engine.precision == "fp32"
    assert "openvino-bf16 is passed over: bf16 was not allowed" in choice.notes
    assert Predictor.load(bundle, engine="auto", precision="bf16").engine.precision == "bf16"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (None, "its AUROC was not measured"),
        (-0.0011, "its AUROC fell by 0.0011, more than 0.001"),
        (-0.0009, ""),
        (0.01, ""),
    ],
)
def test_precision_auto_asks_what_the_export_lost(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, change: float | None, reason: str
) -> None:
    from resight.models.engine import TorchEngine

    for kind in (TorchEngine, OnnxEngine):
        slowed(monkeypatch, kind)
    shutil.rmtree(bundle / "engines" / "openvino-fp32")
    path = bundle / "engines" / "openvino-bf16" / "export.json"
    record = json.loads(path.read_text())
    record["comparison"] = None if change is None else {"macro_auroc_change": {"value": change}}
    write_sealed(path, record)
    choice = choose_engine(bundle, load_bundle(bundle), CPU, "auto", "auto")
    if reason:
        assert f"openvino-bf16 is passed over: {reason}" in choice.notes
    assert choice.engine.precision == ("fp32" if reason else "bf16")


def chosen_with(bundle: Path, instructions: str) -> list[str]:
    """The number format that a process takes and its notes, where oneDNN is told to know these instructions alone."""
    program = (
        "import sys, torch; torch.set_num_threads(1)\n"
        "from resight.models import Predictor\n"
        "predictor = Predictor.load(sys.argv[1], engine='auto', precision='bf16')\n"
        "print(predictor.engine.precision, *predictor.engine_notes, sep='|')"
    )
    command = [sys.executable, "-c", program, str(bundle)]
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    return (
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.strip().split("|")
    )


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the instruction set is that of x86")
def test_on_a_processor_without_bf16_measuring_finds_it_slow(bundle: Path) -> None:
    """oneDNN is told to know AVX2 alone; nothing else tells Resight so."""
    shutil.rmtree(bundle / "engines")
    chosen, note = chosen_with(bundle, "AVX2")
    assert chosen == "fp32"
    assert re.search(r"torch fp32 answers; speed against torch fp32: torch bf16 0\.\d", note)


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the instruction set is that of x86")
def test_exports_of_another_processor_never_take_the_process_down(bundle: Path) -> None:
    """With oneDNN told to know AVX alone OpenVINO's bf16 kernels end the process that opens them."""
    chosen, *notes = chosen_with(bundle, "AVX")
    assert chosen == "fp32"
    assert "openvino-bf16 is passed over: it ends the process that opens it (SIGSEGV) on this machine" in notes
    assert "onnx fp32" in notes[-1]


def test_an_export_is_tried_apart_only_where_the_machine_is_another(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(choice, "try_apart", lambda folder, *_: tried.append(folder.name))
    choose_engine(bundle, load_bundle(bundle), CPU, "onnx")
    assert not tried
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    choose_engine(bundle, load_bundle(bundle), CPU, "onnx")
    assert tried == ["onnx-fp32"]


def test_wishes_that_cannot_be_met_are_refused_in_one_line(bundle: Path) -> None:
    opened = load_bundle(bundle)
    with pytest.raises(SettingsError, match="the engine 'torch' in int8"):
        choose_engine(bundle, opened, CPU, "torch", "int8")
    with pytest.raises(SettingsError, match="unknown engine 'tensorrt'"):
        choose_engine(bundle, opened, CPU, "tensorrt")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="the engine 'onnx' on 'cuda'"):
        choose_engine(bundle, opened, torch.device("cuda"), "onnx")
    with pytest.raises(BundleError, match=r"has no export 'onnx-int8'.*resight export .* --to onnx --precision int8"):
        choose_engine(bundle, opened, CPU, "onnx", "int8")


def test_all_of_the_predictor_goes_through_the_engine(bundle: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 256, (40, 50), dtype=np.uint8) for _ in range(5)]
    plain = Predictor.load(bundle).predict(images)
    other = Predictor.load(bundle, engine="openvino").predict(images, batch=2)
    assert list(plain.table.columns) == list(other.table.columns)
    np.testing.assert_allclose(other.array("logit"), plain.array("logit"), atol=1e-4)
    assert not np.array_equal(other.array("logit"), plain.array("logit"))

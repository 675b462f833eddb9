"""`resight doctor`: what this machine can do, and what is missing."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from resight.cli.console import result_json, result_table

_OPTIONAL = {
    "DICOM JPEG 2000": ("openjpeg", "pylibjpeg-openjpeg", "dicom"),
    "DICOM RLE": ("rle", "pylibjpeg-rle", "dicom"),
    "DICOM JPEG-LS": ("jpeg_ls", "pyjpegls", "dicom"),
    "DICOM JPEG lossless": ("gdcm", "python-gdcm", "dicom"),
    "fast gzip": ("isal", "isal", "fast"),
    "Parquet tables": ("pyarrow", "pyarrow", "parquet"),
}
_PROGRAMS = {"DICOM 12-bit JPEG": ("dcmdjpeg", "dcmtk")}
_BIG_GB = 2.0


def doctor(*, as_json: Annotated[bool, Parameter("--json", negative="")] = False) -> int:
    """Say what this machine can do and what is missing.

    Args:
        as_json: print the result for programs.
    """
    from resight.experiments.record import environment
    from resight.models import choose_device
    from resight.training.precision import bf16_gain

    facts = environment()
    device = choose_device("auto")
    rows: list[tuple[str, str, str]] = [
        ("Python", facts["python"], ""),
        ("Resight", facts["versions"]["resight"] or "?", ""),
        ("torch", facts["versions"]["torch"] or "?", _torch_remark()),
        ("cores", str(facts["cores"]), ""),
        ("memory", f"{facts['memory_gb']} GB", ""),
        ("training device", str(device), facts["accelerator"] or ""),
        ("bf16 speed-up", f"{bf16_gain(device):.2f}", "measured on a small network; above 1.15 it is used"),
        ("free disk here", f"{shutil.disk_usage(Path.cwd()).free / 1e9:.1f} GB", f"written at {_disk_rate():.0f} MB/s"),
    ]
    for what, (module, package, extra) in _OPTIONAL.items():
        found = importlib.util.find_spec(module) is not None
        rows.append(
            (what, _version(package) if found else "missing", "" if found else f"pip install 'resight[{extra}]'")
        )
    for what, (program, package) in _PROGRAMS.items():
        found = shutil.which(program) is not None
        rows.append((what, "yes" if found else "missing", "" if found else f"install {package}"))
    if as_json:
        result_json({name: {"value": value, "remark": remark} for name, value, remark in rows})
    else:
        result_table(("", "found", "remark"), rows)
    return 0


def _torch_remark() -> str:
    spec = importlib.util.find_spec("torch")
    folder = Path(spec.origin).parent if spec and spec.origin else None
    if folder is None:
        return ""
    libraries = [folder / "lib", folder.parent / "nvidia"]
    size_gb = sum(f.stat().st_size for lib in libraries if lib.is_dir() for f in lib.rglob("*") if f.is_file()) / 1e9
    import torch

    if size_gb > _BIG_GB and not torch.cuda.is_available():
        return f"a CUDA build of {size_gb:.1f} GB, and no GPU here: a CPU build is smaller"
    return f"{size_gb:.1f} GB installed"


def _disk_rate() -> float:
    block = bytes(8 * 2**20)
    with tempfile.TemporaryFile(dir=Path.cwd()) as file:
        begin = time.perf_counter()
        for _ in range(4):
            file.write(block)
        file.flush()
        return 4 * len(block) / 1e6 / (time.perf_counter() - begin)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "yes"

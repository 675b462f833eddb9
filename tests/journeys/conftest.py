"""A small phantom cohort, an experiment file, and the command line called as users call it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from resight.cli.main import main
from resight.cohorts import PhantomOptions, write_phantom

EXPERIMENT = """
name = "small"
[cohort]
path = "{cohort}"
labels = ["Cardiomegaly", "Effusion"]
[split]
column = "split"
[recipe]
size_px = [32, 32]
[model.backbone]
depth = 10
stem = "cifar"
width = 16
[training]
epochs = 2
batch_size = 16
deterministic = true
threads = 1
[evaluation]
bootstrap = 40
[report]
examples = 2
"""


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The last line of talk; fails where there is a traceback."""
        assert "Traceback" not in self.err
        return self.err.strip().splitlines()[-1]


Command = Callable[..., Answer]


@pytest.fixture
def resight(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run the command line in this process."""

    def run(*arguments: object) -> Answer:
        capfd.readouterr()
        code = main([str(a) for a in arguments])
        return Answer(code, *capfd.readouterr())

    return run


def _as_in_a_terminal() -> None:
    """What a shell starts in the background ignores Ctrl-C, and hands that on to all it starts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the command line as a process of its own group; what still runs after the test is ended."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "resight.cli.main", *map(str, arguments)]
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            command, env=environment, start_new_session=True, preexec_fn=_as_in_a_terminal, **(pipes | options)
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the whole group: a reading process holds the pipes open
        process.communicate()


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """140 drawn images with two findings."""
    folder = tmp_path_factory.mktemp("phantom")
    options = PhantomOptions(images=140, size_px=40, findings=("Cardiomegaly", "Effusion"), prevalence=0.4)
    write_phantom(options, folder)
    return folder


@pytest.fixture(scope="session")
def experiment(phantom: Path) -> Path:
    """An experiment file on the phantom."""
    path = phantom / "small.toml"
    path.write_text(EXPERIMENT.format(cohort=phantom / "cohort.csv"))
    return path


@pytest.fixture(scope="session")
def run_folder(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run, not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert main(["train", str(experiment), "--out", str(folder)]) == 0
    return folder

"""The recipes for several machines are run as the page has them, with two torchrun agents on this machine's loopback.

What stands for more machines: the address of the first one is the loopback, and each node has one process.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import torch.distributed.run
import yaml

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "train-on-several-machines.md").read_text()
SMALL = (
    "--set training.batch_size={batch} --set training.precision=fp32 --set training.ema_decay=0.0"
    " --set model.backbone.norm=group --set report.examples=0 --set training.epochs={epochs}"
)


def block(language: str, holding: str) -> str:
    """The code block of the page that holds some words."""
    found = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if holding in text]
    assert len(found) == 1
    return found[0]


def here(text: str, experiment: Path, out: Path, port: int, *, batch: int = 8, epochs: int = 2, nproc: int = 1) -> str:
    """A recipe with this machine's places in it, and a small network."""
    changes = {
        "experiment.toml": str(experiment),
        "--nproc-per-node 4": f"--nproc-per-node {nproc}",
        "29500": str(port),
        "node-0": "127.0.0.1",
        "/shared/runs/large": str(out),
        "--no-python resight train": f"--no-python resight train {SMALL.format(batch=batch, epochs=epochs)}",
    }
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """The environment of a node: programs of this interpreter first, then stand-ins of a scheduler."""
    programs = os.pathsep.join((str(Path(sys.executable).parent), str(tmp_path / "bin"), os.environ["PATH"]))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PATH": programs}


def figures(folder: Path) -> list[float]:
    labels = json.loads((folder / "metrics.json").read_text())["labels"]
    return [label["metrics"][name]["value"] for label in labels for name in ("auroc", "brier")]


@pytest.mark.slow
def test_two_agents_started_by_hand_give_the_figures_of_one_process(
    resight: Callable[..., Any], experiment: Path, tmp_path: Path, port: int, place: dict[str, str]
) -> None:
    recipe = here(block("bash", "--master-addr"), experiment, tmp_path / "two", port)
    agents = [
        subprocess.Popen(
            shlex.split(recipe.replace("--node-rank 0", f"--node-rank {rank}").replace("\\\n", " ")),
            env=place,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(2)
    ]
    for agent in agents:
        words, _ = agent.communicate(timeout=240)
        assert agent.returncode == 0, words
    answer = resight("train", experiment, "--out", tmp_path / "one", *shlex.split(SMALL.format(batch=16, epochs=2)))
    assert answer.code == 0, answer.err
    assert figures(tmp_path / "two") == pytest.approx(figures(tmp_path / "one"), abs=1e-6)


@pytest.mark.slow
def test_the_slurm_job_trains_on_two_nodes_and_goes_on_when_it_is_put_back(
    experiment: Path, tmp_path: Path, port: int, place: dict[str, str]
) -> None:
    """`scontrol` and `srun` are stand-ins; bash, both agents, their rendezvous and the training are real."""
    job = tmp_path / "job.sh"
    job.write_text(here(block("bash", "#SBATCH"), experiment, tmp_path / "run", port))
    (tmp_path / "bin").mkdir()
    stand_ins = {
        "scontrol": 'echo "$@" > scontrol.txt; echo 127.0.0.1; echo 127.0.0.2',
        "srun": 'echo "$@" >> srun.txt; [ -e only-told ] && exit; "$@" & first=$!; "$@" & wait $first && wait $!',
    }
    for name, text in stand_ins.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    slurm = {"SLURM_JOB_NODELIST": "node-[0-1]", "SLURM_NNODES": "2", "SLURM_JOB_ID": "7"}
    start = {"cwd": tmp_path, "env": place | slurm, "text": True, "capture_output": True, "timeout": 240}
    done = subprocess.run(["bash", str(job)], **start)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "bundle" / "manifest.json").is_file()
    assert (tmp_path / "scontrol.txt").read_text() == "show hostnames node-[0-1]\n"

    (tmp_path / "run" / "checkpoints").mkdir(exist_ok=True)
    (tmp_path / "only-told").touch()
    assert subprocess.run(["bash", str(job)], **start).returncode == 0
    first, second = (tmp_path / "srun.txt").read_text().splitlines()
    assert "--resume" not in first
    assert second == f"{first} --resume"


@pytest.mark.slow
def test_torchrun_starts_a_killed_process_again_from_the_last_checkpoint(
    experiment: Path, tmp_path: Path, port: int, place: dict[str, str]
) -> None:
    recipe = here(block("bash", "--max-restarts"), experiment, tmp_path / "run", port, epochs=4, nproc=2)
    with subprocess.Popen(
        shlex.split(recipe.replace("\\\n", " ")), env=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as agent:
        until = time.monotonic() + 240
        while not list((tmp_path / "run").glob("checkpoints/*/last.safetensors")):
            assert time.monotonic() < until
            assert agent.poll() is None
            time.sleep(0.1)
        children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        words, _ = agent.communicate(timeout=240)
    assert agent.returncode == 0, words
    assert "exitcode: -9" in words, words
    assert figures(tmp_path / "run")


def test_the_slurm_script_is_bash(tmp_path: Path) -> None:
    (tmp_path / "job.sh").write_text(block("bash", "#SBATCH"))
    done = subprocess.run(["bash", "-n", str(tmp_path / "job.sh")], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_kubernetes_objects_are_what_their_schemas_allow_and_belong_together() -> None:
    service, job = yaml.safe_load_all(block("yaml", "kind: Job"))
    for one in (service, job):
        kubernetes_validate.validate(one, "1.31", strict=True)
    pod = job["spec"]["template"]["spec"]
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    (container,) = pod["containers"]
    given = torch.distributed.run.get_args_parser().parse_args(
        [word.replace("$(JOB_COMPLETION_INDEX)", "1") for word in container["args"]]
    )
    assert given.master_addr == f"{job['metadata']['name']}-0.{service['metadata']['name']}"
    assert int(given.nnodes) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert (given.no_python, given.training_script, given.node_rank) == (True, "resight", 1)
    assert given.training_script_args[0] == "train"
    assert int(given.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]

"""Several processes of one training on this machine, watched: when one dies the others end, and all may begin again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from resight.errors import SettingsError, TrainingError

_LOOK_EVERY_S = 0.2
_GRACE_S = 10.0
_LOGS = "processes"


def launch(
    arguments: Sequence[str],
    processes: int,
    folder: Path,
    *,
    restarts: int = 0,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Run `resight train` in several processes until all are done.

    Args:
        arguments: what follows `resight train`, without `--processes`, `--restarts` and `--resume`.
        processes: how many.
        folder: run folder; what all but the first process say goes to `processes/1.log`, `processes/2.log`, ... in it.
        restarts: how often all begin again from the last checkpoint when one dies.
        resume: begin from a checkpoint.
        say: told in one line why all begin again.

    Raises:
        SettingsError: fewer than 2 processes.
        TrainingError: a process died, and no restart is left; an error of the training itself is not tried again.
    """
    if processes < 2 or restarts < 0:
        found = f"processes = {processes}, restarts = {restarts}"
        raise SettingsError(found, where="command line", expected="at least 2 and 0")
    logs = folder.with_name(f".{folder.name}.{_LOGS}")
    logs.mkdir(parents=True, exist_ok=True)
    for attempt in range(restarts + 1):
        again = resume or attempt > 0
        dead = _run([*arguments, *(["--resume"] if again else [])], processes, logs)
        if dead is None:
            return
        number, code = dead
        died = f"process {number + 1} of {processes} {_how(code)}, and the others were ended"
        if code > 0 or attempt == restarts:
            fix = f"Its words are in {logs / f'{number}.log'}. Go on with --resume."
            raise TrainingError(died, where=str(folder), fix=fix)
        say(f"{died}; all begin again from the last checkpoint (restart {attempt + 1} of {restarts})")


def _run(arguments: Sequence[str], processes: int, logs: Path) -> tuple[int, int] | None:
    """Number and exit code of the process that died first; None where all are done."""
    port = str(_free_port())
    running: list[subprocess.Popen[bytes]] = []
    try:
        for rank in range(processes):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            environment = {**os.environ, **place, **address}
            command = [sys.executable, "-m", "resight.cli.main", "train", *arguments]
            with (logs / f"{rank}.log").open("ab") as log:
                words = None if rank == 0 else log
                running.append(subprocess.Popen(command, env=environment, stdout=words, stderr=words))
        while True:
            codes = [process.poll() for process in running]
            # A signal is the cause where there is one: those who waited for the dead end with an error of their own.
            failed = sorted((code, rank) for rank, code in enumerate(codes) if code)
            if failed:
                time.sleep(_LOOK_EVERY_S)
                codes = [process.poll() for process in running]
                code, rank = min((code, rank) for rank, code in enumerate(codes) if code)
                return rank, code
            if all(code == 0 for code in codes):
                return None
            time.sleep(_LOOK_EVERY_S)
    finally:
        _end(running)


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        if process.poll() is None:
            process.terminate()
    until = time.monotonic() + _GRACE_S
    for process in running:
        try:
            process.wait(max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _how(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

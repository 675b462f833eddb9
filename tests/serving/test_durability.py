"""Killed while twenty associations send, started again, sent again: nothing is lost and nothing is there twice."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from serving_images import radiograph, write
from serving_processes import MODEL, Served, need, wait_until
from sqlalchemy import create_engine, text

pytestmark = pytest.mark.slow

ASSOCIATIONS, EACH, STUDIES = 20, 25, 10
SENT_WITHIN_S, STARTED_WITHIN_S, RETRY_S = 420, 180, 3
"""Time bounds a sender, not a number of tries: on a busy machine a restart takes two minutes. The wait between tries is
long enough that twenty senders do not take the processor from the service that starts."""
ACCEPTED = "Received Store Response (Success)"


class Sender:
    """As a modality does: what was not accepted is sent again until it is."""

    def __init__(self, program: str, port: int, files: list[Path], accepted: set[Path]) -> None:
        self._command = [program, "-v", "-R", "-aet", "SENDER", "-aec", "RESIGHT", "127.0.0.1", str(port)]
        self._files, self._accepted = files, accepted

    def send(self, deadline: float) -> int:
        """Gives how often it had to begin again."""
        left, rounds = self._files, 0
        while left:
            assert time.monotonic() < deadline, f"{len(left)} of {len(self._files)} were never accepted"
            done = subprocess.run(
                [*self._command, *map(str, left)], capture_output=True, text=True, timeout=120, check=False
            )
            # storescu stops at the first object that is not accepted
            count = (done.stdout + done.stderr).count(ACCEPTED)
            self._accepted.update(left[:count])
            left = left[count:]
            if left:
                rounds += 1
                time.sleep(RETRY_S)
        return rounds


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path, models=[{**MODEL, "objects": ["sr"]}], quiet_s=20)
    yield served
    if served.process is not None and served.process.poll() is None:
        served.kill()


def test_nothing_is_lost_or_doubled_when_the_node_is_killed(tmp_path: Path, served: Served) -> None:
    program = need("storescu")
    accepted: set[Path] = set()
    senders = []
    for sender in range(ASSOCIATIONS):
        folder = tmp_path / f"sender{sender}"
        folder.mkdir()
        files = []
        for number in range(sender * EACH, (sender + 1) * EACH):
            dataset = radiograph(number, study=f"1.2.826.2.{sender % STUDIES}", number=number + 1, size_px=32)
            files.append(write(dataset, folder / f"{number}.dcm"))
        senders.append(Sender(program, served.dicom, files, accepted))
    served.start(STARTED_WITHIN_S)
    deadline = time.monotonic() + SENT_WITHIN_S
    with ThreadPoolExecutor(ASSOCIATIONS) as pool:
        sending = [pool.submit(sender.send, deadline) for sender in senders]
        for enough in (60, 250):
            wait_until(lambda enough=enough: kept(served) >= enough, 120, f"{enough} instances are kept")
            assert not all(one.done() for one in sending), "killed too late to prove anything"
            served.kill()
            served.start(STARTED_WITHIN_S)
        rounds = [one.result() for one in sending]
    assert sum(rounds) > 0
    assert len(accepted) == ASSOCIATIONS * EACH
    headers = served.token("service")
    for number in range(STUDIES):
        url = f"{served.url}/api/studies/1.2.826.2.{number}"
        wait_until(
            lambda url=url: httpx.get(url, headers=headers).json()["state"] == "done", 120, f"study {number} is done"
        )
    assert served.stop() == 0
    rows = query(served, "SELECT sop_uid, file, sha256 FROM instances")
    assert len(rows) == len({uid for uid, _, _ in rows}) == ASSOCIATIONS * EACH
    for _, file, digest in rows:
        assert hashlib.sha256((tmp_path / "data" / file).read_bytes()).hexdigest() == digest
    assert [path for path in (tmp_path / "data" / "incoming").rglob("*") if path.is_file()] == []
    check_answers(served)
    assert "unchanged" in served.command("audit-log", "verify", str(served.file))


def check_answers(served: Served) -> None:
    """One result for each study, of all its images, and a report of it."""
    findings = query(
        served,
        "SELECT study_pk, prediction_pk, instance_pk, label"
        " FROM findings JOIN predictions ON prediction_pk = predictions.id",
    )
    assert len(findings) == len(set(findings))
    answered: dict[int, dict[int, set[int]]] = {}
    for study, prediction, instance, _ in findings:
        answered.setdefault(study, {}).setdefault(prediction, set()).add(instance)
    assert len(answered) == STUDIES
    for answers in answered.values():
        assert [len(one) for one in answers.values()] == [ASSOCIATIONS * EACH // STUDIES]
    reports = query(served, "SELECT file FROM result_objects")
    assert len(reports) == STUDIES
    assert all((served.folder / "data" / file).stat().st_size > 0 for (file,) in reports)


def kept(served: Served) -> int:
    return query(served, "SELECT count(*) FROM instances")[0][0]


def query(served: Served, statement: str) -> list[tuple]:
    engine = create_engine(f"sqlite:///{served.folder / 'data' / 'resight.sqlite'}")
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]
    finally:
        engine.dispose()

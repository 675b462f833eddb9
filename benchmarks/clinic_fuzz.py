"""Damaged DICOM and image files: each is answered with a reason, none harms the service.

python -m benchmarks.clinic_fuzz --files 10000 --out benchmarks/results/clinic/fuzz.json

Eight of ten go through the reading processes (header and image), one by STOW-RS and one by C-STORE to a running
service. It goes on where it was stopped: pieces of 250 files that `--out` holds already are not done again.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

from benchmarks.clinic_fuzz_files import NAME, content, crafted, dataset_begin, dicom, mutate, numbered, seeds
from benchmarks.clinic_process import Running, memory_mb
from resight.errors import ImageError
from resight.imaging import Sandbox
from resight.imaging.display import VOI

PIECE, CRAFTED = 250, 0.1
MEMORY_MB, TIMEOUT_S, VALUES, FRAMES = 600, 20.0, 10**6, 50
LIMITS = {"parse_memory_mb": MEMORY_MB, "parse_timeout_s": TIMEOUT_S, "pixel_values": VALUES, "frames": FRAMES}
DX = "1.2.840.10008.5.1.4.1.1.1.1"
WAYS = ("reading process",) * 8 + ("STOW-RS", "C-STORE")


class Tally:
    """What came of the files of one piece."""

    def __init__(self) -> None:
        self.answers: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.slowest_s = 0.0
        self.figures: dict[str, float] = {}

    def refused(self, reason: str) -> None:
        """Count a reason; none at all, or one that names the patient, ends everything."""
        assert reason.strip(), "refused without a reason"
        assert NAME not in reason, reason
        self.answers["refused with a reason"] += 1
        self.reasons["".join(" " if letter.isdigit() else letter for letter in reason).strip()[:60]] += 1

    def figure(self, name: str, value: float) -> None:
        """Keep the highest."""
        self.figures[name] = max(self.figures.get(name, 0), value)


def files(rng: np.random.Generator, first: int, *, only_dicom: bool) -> list[tuple[str, bytes]]:
    """Damaged and crafted files of one piece with the kind of each."""
    whole = {k: v for k, v in seeds(rng).items() if not only_dicom or dataset_begin(v)}
    made = crafted(rng)
    found = []
    for number in range(first + 1, first + 1 + PIECE):
        if rng.random() < CRAFTED:
            kind = str(rng.choice(list(made)))
            found.append((kind, numbered(made[kind](), number)))
        else:
            kind = str(rng.choice(list(whole)))
            begin = dataset_begin(whole[kind]) if only_dicom else 0
            found.append((kind, mutate(numbered(whole[kind], number), rng, begin)))
    return found


def read_all(pieces: list[tuple[str, bytes]], tally: Tally, folder: Path) -> None:
    """Through a reading process of its own. Anything but an answer or an `ImageError` is raised."""
    path = folder / "fuzzed"
    with Sandbox(
        processes=1, memory_mb=MEMORY_MB, timeout_s=TIMEOUT_S, most_values=VALUES, most_frames=FRAMES
    ) as sandbox:
        for number, (kind, data) in enumerate(pieces):
            path.write_bytes(data)
            tally.kinds[kind] += 1
            begun = time.monotonic()
            for read in (sandbox.header, lambda p: sandbox.image(p, VOI())):
                try:
                    read(path)
                    tally.answers["read"] += 1
                except ImageError as error:
                    tally.refused(error.found)
                    ended = "ends the process" in error.found or "takes more than" in error.found
                    tally.answers["readings that cost their process"] += ended
            if number:  # the first one waits for the process to start
                tally.slowest_s = max(tally.slowest_s, time.monotonic() - begun)
            for one in psutil.Process().children():
                tally.figure("largest reading process (MB)", _peak_mb(one.pid))


def store_all(pieces: list[tuple[str, bytes]], tally: Tally, way: str, folder: Path) -> None:
    """To a running service, which then works on what it kept."""
    settings = {"limits": {**LIMITS, "attempts": 1}, "quiet_s": 0.5}
    with Running(folder, dicom_peers=["FUZZ"], settings=settings) as service:
        service.wait()
        with httpx.Client(base_url=service.url, headers=service.token("admin"), timeout=120) as client:
            send = _stow(client) if way == "STOW-RS" else _c_store(service.dicom)
            send(content(dicom(np.random.default_rng(0), ExplicitVRLittleEndian)))  # from here on memory is not new
            _wait_for_the_end(client)
            before = memory_mb(service.process)
            for kind, data in pieces:
                tally.kinds[kind] += 1
                begun = time.monotonic()
                answer = send(data)
                tally.slowest_s = max(tally.slowest_s, time.monotonic() - begun)
                tally.answers[f"{way} {answer}"] += 1
            _wait_for_the_end(client)
            for study in client.get("/api/studies", params={"limit": 500}).json():
                if study["state"] == "done":
                    tally.answers["kept and answered"] += 1
                else:
                    tally.refused(study["reason"])
            assert client.get("/api/health").json() == {"status": "ok"}
            tally.figure("growth of the service (MB)", memory_mb(service.process) - before)
        log = service.log.read_text(encoding="utf-8")
        assert NAME not in log, "the log names the patient"
        assert "Traceback" not in log, log[-2000:]


def _stow(client: httpx.Client) -> Any:
    def send(data: bytes) -> int:
        body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + data + b"\r\n--b--\r\n"
        headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
        status = client.post("/dicom-web/studies", content=body, headers=headers).status_code
        assert status in (200, 409), status
        return status

    return send


def _c_store(port: int) -> Any:
    """The bytes of a damaged dataset as they are, which no library would send of its own accord."""
    entity = AE(ae_title="FUZZ")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 120

    def send(data: bytes) -> str:
        begin = dataset_begin(data)
        at = data.find(b"\x02\x00\x10\x00UI") + 8
        syntax = data[at : at + int.from_bytes(data[at - 2 : at], "little")].rstrip(b"\0").decode() if at > 7 else ""
        entity.requested_contexts = []
        entity.add_requested_context(DX, syntax or "1.2.840.10008.1.2.1")
        association = entity.associate("127.0.0.1", port, ae_title="RESIGHT")
        assert association.is_established, "the node does not answer any more"
        request = C_STORE()
        request.MessageID, request.Priority, request.AffectedSOPClassUID = 1, 2, DX
        at = data.find(b"\x02\x00\x03\x00UI") + 8
        uid = data[at : at + int.from_bytes(data[at - 2 : at], "little")].rstrip(b"\0").decode() if at > 7 else "1.2.3"
        request.AffectedSOPInstanceUID = uid
        request.DataSet = io.BytesIO(data[begin:] or b"\0\0")
        association._reactor_checkpoint.clear()  # as `send_c_store` does while it waits for the answer
        association.dimse.send_msg(request, 1)
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        assert isinstance(answer, C_STORE), "no answer to a C-STORE"
        association.release()
        return f"{answer.Status:04X}"

    return send


def _wait_for_the_end(client: httpx.Client) -> None:
    deadline = time.monotonic() + 300
    while _busy(client):
        assert time.monotonic() < deadline, "the service does not come to an end with what it kept"
        time.sleep(0.5)


def _busy(client: httpx.Client) -> bool:
    states = ("receiving", "queued", "predicting")
    return any(client.get("/api/studies", params={"state": state, "limit": 1}).json() for state in states)


def _peak_mb(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    return max((int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM")), default=0)


def piece(number: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng([seed, number])
    way, tally, begun = WAYS[number % len(WAYS)], Tally(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        pieces = files(rng, number * PIECE, only_dicom=way == "C-STORE")
        if way == "reading process":
            read_all(pieces, tally, Path(folder))
        else:
            store_all(pieces, tally, way, Path(folder))
    return {
        "way": way,
        "kinds": dict(tally.kinds),
        "answers": dict(tally.answers),
        "reasons": dict(tally.reasons),
        "slowest_s": round(tally.slowest_s, 2),
        "figures": tally.figures,
        "seconds": round(time.monotonic() - begun, 1),
    }


def whole(pieces: dict[str, Any], seed: int) -> dict[str, Any]:
    """The pieces added up."""

    def added(name: str, way: str | None = None) -> Counter[str]:
        chosen = [one for one in pieces.values() if way in (None, one["way"])]
        return sum((Counter(one[name]) for one in chosen), Counter())

    ways = Counter({way: PIECE * sum(one["way"] == way for one in pieces.values()) for way in dict.fromkeys(WAYS)})
    figures: dict[str, float] = {}
    for one in pieces.values():
        for name, value in one["figures"].items():
            figures[name] = max(figures.get(name, 0), value)
    return {
        "files": PIECE * len(pieces),
        "seed": seed,
        "files by way": dict(ways),
        "answers by way": {way: dict(added("answers", way)) for way in ways if ways[way]},
        "files by kind": dict(added("kinds").most_common()),
        "distinct reasons": len(added("reasons")),
        "commonest reasons": dict(added("reasons").most_common(12)),
        "slowest file (s)": max((one["slowest_s"] for one in pieces.values()), default=0),
        **figures,
        "memory cap of reading beyond the start (MB)": MEMORY_MB,
        "seconds": round(sum(one["seconds"] for one in pieces.values())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no piece after so long")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    kept = options.out.with_suffix(".pieces.json")
    pieces: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {}
    until = time.monotonic() + 60 * options.minutes
    for number in range(-(-options.files // PIECE)):
        if str(number) not in pieces and time.monotonic() < until:
            pieces[str(number)] = piece(number, options.seed)
            kept.parent.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps(pieces), encoding="utf-8")
    text = json.dumps(whole(pieces, options.seed), indent=2) + "\n"
    print(text, end="")
    options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

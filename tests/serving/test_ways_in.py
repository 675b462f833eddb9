"""The DICOM node and the watch folder as ways in: who may send, and what becomes of what is sent."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError
from pynetdicom import AE
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE
from serving_certificates import as_client
from serving_images import DX, content, radiograph, write
from serving_site import Site

from resight.serving import ServiceSettings
from resight.serving.node import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS, Node
from resight.serving.settings import DICOMOptions, WatchOptions
from resight.serving.watch import REFUSED, Watcher

VERIFICATION = "1.2.840.10008.1.1"
HERE, ELSEWHERE = "127.0.0.0/8", "10.0.0.0/8"


@contextmanager
def node(site: Site, **options: object) -> Iterator[Node]:
    settings = DICOMOptions.model_validate({"port": 0, "timeout_s": 10, **options})
    with Node(site.parts.service, settings, site.parts.intake) as running:
        yield running


def associate(node: Node, title: str = "SENDER", called: str = "RESIGHT", **arguments: object):
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 15
    entity.add_requested_context(VERIFICATION)
    entity.add_requested_context(DX, "1.2.840.10008.1.2.1")
    return entity.associate("127.0.0.1", node.port, ae_title=called, **arguments)  # type: ignore[arg-type]


def test_a_peer_on_the_list_is_answered_and_its_object_kept_once(site: Site) -> None:
    uid = site.uid()
    with node(site, peers=[{"ae_title": "SENDER", "networks": [HERE]}]) as running:
        association = associate(running)
        assert association.is_established
        assert association.send_c_echo().Status == SUCCESS
        for _ in range(2):
            assert association.send_c_store(radiograph(study=uid)).Status == SUCCESS
        association.release()
    site.work()
    assert site.study(uid)["state"] == "done"
    assert site.study(uid)["instances"] == 1


# pynetdicom's reactor can see the node's shutdown just after it rejected somebody, and ends with an error of its own.
@pytest.mark.filterwarnings("ignore:Exception in thread:pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("title", "called", "peers"),
    [
        ("STRANGER", "RESIGHT", [{"ae_title": "SENDER"}]),
        ("sender", "RESIGHT", [{"ae_title": "SENDER"}]),
        ("SENDER", "RESIGHT", []),
        ("SENDER", "OTHER", [{"ae_title": "SENDER"}]),
        ("SENDER", "RESIGHT", [{"ae_title": "SENDER", "networks": [ELSEWHERE]}]),
    ],
)
def test_a_peer_that_is_not_on_the_list_is_rejected(site: Site, title: str, called: str, peers: list) -> None:
    with node(site, peers=peers) as running:
        association = associate(running, title, called)
        assert not association.is_established
        assert association.is_rejected


def test_a_full_disk_is_answered_so_that_the_peer_sends_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    uid, settings = site.uid(), site.parts.service.settings
    limits = settings.limits.model_copy(update={"free_disk_mb": 10**9})
    with node(site, peers=[{"ae_title": "SENDER"}]) as running:
        association = associate(running)
        with monkeypatch.context() as patched:
            patched.setattr(site.parts.service, "settings", settings.model_copy(update={"limits": limits}))
            assert association.send_c_store(radiograph(study=uid)).Status == OUT_OF_RESOURCES
        assert association.send_c_store(radiograph(study=uid)).Status == SUCCESS
        association.release()
    site.work()


def test_an_object_without_its_study_is_refused(site: Site) -> None:
    with node(site, peers=[{"ae_title": "SENDER"}]) as running:
        association = associate(running)
        dataset = radiograph(study=site.uid())
        del dataset.StudyInstanceUID
        assert association.send_c_store(dataset).Status == CANNOT_UNDERSTAND
        association.release()


def test_tls_is_demanded_and_so_is_the_certificate_of_the_peer(site: Site, certificates: dict[str, Path]) -> None:
    tls = {"certificate": certificates["server.pem"], "key": certificates["server.key"]}
    peers = [{"ae_title": "SENDER"}]
    with node(site, peers=peers, tls=tls) as running:
        assert not associate(running).is_established
        association = associate(running, tls_args=(as_client(certificates, None), "localhost"))
        assert association.is_established
        association.release()
    with node(site, peers=peers, tls=tls | {"client_ca": certificates["client.pem"]}) as running:
        for name, welcome in (("client", True), ("stranger", False), (None, False)):
            association = associate(running, tls_args=(as_client(certificates, name), "localhost"))
            answered = association.is_established and association.send_c_echo().get("Status") == SUCCESS
            assert answered == welcome, name
            if association.is_established:
                association.release()


@pytest.mark.parametrize(
    "changes",
    [
        {"security": {"require_tls": True}},
        {"http": {"host": "0.0.0.0"}},
        {"security": {"require_tls": True}, "dicom": {}, "http": {"tls": {"certificate": "a", "key": "b"}}},
    ],
)
def test_settings_that_would_go_without_tls_are_refused(tmp_path: Path, changes: dict) -> None:
    with pytest.raises(ValidationError, match="tls"):
        ServiceSettings.model_validate({"folder": tmp_path, **changes})


def test_the_watch_folder_takes_what_has_settled_and_sets_aside_what_is_refused(site: Site, tmp_path: Path) -> None:
    uid, inbox = site.uid(), tmp_path / "inbox"
    watcher = Watcher(site.parts.service, WatchOptions(folder=inbox, settled_s=60), site.parts.intake)
    file = write(radiograph(study=uid), inbox / "image.dcm")
    (inbox / "notes.txt").write_bytes(b"not DICOM")
    secret = tmp_path / "secret.dcm"
    secret.write_bytes(content(radiograph(study=site.uid())))
    (inbox / "link.dcm").symlink_to(secret)
    assert watcher.look() == 0
    assert file.exists()
    for path in (file, inbox / "notes.txt"):
        os.utime(path, (time.time() - 100,) * 2)
    assert watcher.look() == 1
    assert not file.exists()
    aside = sorted(path.name for path in (inbox / REFUSED).iterdir())
    assert len(aside) == 2
    assert any(name.endswith("notes.txt") for name in aside)
    assert secret.exists()
    assert watcher.look() == 0
    site.work()
    assert site.study(uid)["state"] == "done"


def test_a_file_that_cannot_be_read_or_is_too_large_keeps_none_of_the_others_waiting(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid, inbox = site.uid(), tmp_path / "inbox"
    watcher = Watcher(site.parts.service, WatchOptions(folder=inbox, settled_s=0), site.parts.intake)
    write(radiograph(study=uid), inbox / "z.dcm")
    (inbox / "a.dcm").write_bytes(b"locked")
    (inbox / "huge.dcm").write_bytes(b"x" * 200_000)
    (inbox / ("\u00e4" * 120)).write_bytes(b"the longest name that there is")
    copy = shutil.copyfile

    def locked(source: Path, target: Path) -> None:
        if source.name == "a.dcm":
            raise PermissionError(13, "Permission denied")
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", locked)
    monkeypatch.setattr(watcher, "_largest", 100_000)
    assert watcher.look() == 1
    assert sorted(path.name for path in inbox.iterdir()) == ["a.dcm", REFUSED]
    reasons = [path.read_text() for path in sorted((inbox / REFUSED).glob("*.txt"))]
    assert len(reasons) == 2
    assert any("larger than 100000 bytes" in reason for reason in reasons)
    site.work()


def test_nothing_is_left_of_an_object_whose_sender_hung_up_in_the_middle(site: Site) -> None:
    with node(site, peers=[{"ae_title": "SENDER"}]) as running:
        folder = site.parts.service.folder / "incoming"
        before = tempfile.tempdir
        tempfile.tempdir = str(folder)
        try:
            association = associate(running)
            request = C_STORE()
            request.MessageID, request.Priority = 1, 2
            request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = DX, "1.2.3"
            request.DataSet = io.BytesIO(bytes(300_000))
            message = C_STORE_RQ()
            message.primitive_to_message(request)
            context = next(c.context_id for c in association.accepted_contexts if c.abstract_syntax == DX)
            for part in itertools.islice(message.encode_msg(context, 16_000), 4):  # and hangs up in the middle
                association.dul.send_pdu(part)
            deadline = time.monotonic() + 10
            while not (left := list(folder.glob("*.dcm"))) and time.monotonic() < deadline:
                time.sleep(0.02)
            association.abort()
        finally:
            tempfile.tempdir = before
        assert left, "it was on its way"
        while list(folder.glob("*.dcm")) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert list(folder.glob("*.dcm")) == []

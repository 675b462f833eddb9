"""The DICOM node: C-ECHO and C-STORE as a provider (PS3.4 A and B), for peers on the list only."""

from __future__ import annotations

import ipaddress
import logging
import shutil
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from resight.errors import OutputError, ResightError, require
from resight.serving.guard import address_is_allowed
from resight.serving.intake import Intake
from resight.serving.service import Service
from resight.serving.settings import DICOMOptions, Peer
from resight.serving.tls import server_context

if TYPE_CHECKING:
    from pynetdicom.association import Association
    from pynetdicom.events import Event

_log = logging.getLogger(__name__)

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
MISMATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
"""Status codes of C-STORE (PS3.4 table B.2-1)."""
_REJECT: Final = 0x01
_SERVICE_USER: Final = 0x01
_CALLING_UNKNOWN: Final = 0x03
"""Result, source and reason of A-ASSOCIATE-RJ (PS3.8 table 9-21)."""
_MEGABYTE: Final = 2**20
_PDU_BYTES: Final = 2**17
_TRANSFER_SYNTAXES: Final = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80",
    "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
    "1.2.840.10008.1.2.5",
)
"""What the readers decode, uncompressed first; anything else, private ones too, is turned down in the negotiation."""


class Node:
    """A listening application entity; a context manager that stops it.

    Args:
        service: settings.
        options: of the node.
        intake: takes the objects.

    Raises:
        OutputError: the port cannot be used.
        SettingsError: a certificate cannot be read.
        DependencyError: pynetdicom is not installed.
    """

    def __init__(self, service: Service, options: DICOMOptions, intake: Intake) -> None:
        require("pynetdicom", extra="clinic")
        from pynetdicom import AE, AllStoragePresentationContexts, _config, build_context, evt
        from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

        logging.getLogger("pynetdicom").propagate = False  # it logs identifiers
        _config.STORE_RECV_CHUNKED_DATASET = True  # objects go to the disk while they come, not into memory
        self._service, self._options, self._intake = service, options, intake
        self._received: dict[int, int] = {}
        self._lock = threading.Lock()
        entity = AE(ae_title=options.ae_title)
        entity.require_called_aet = True
        entity.maximum_associations = options.associations
        entity.maximum_pdu_size = _PDU_BYTES
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = options.timeout_s
        contexts = [build_context(Verification)]
        storage = [str(context.abstract_syntax) for context in AllStoragePresentationContexts]
        contexts += [build_context(sop_class, list(_TRANSFER_SYNTAXES)) for sop_class in storage]
        entity.supported_contexts = contexts
        handlers: list[Any] = [
            (evt.EVT_REQUESTED, self._on_request),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_C_ECHO, lambda _event: SUCCESS),
            (evt.EVT_DATA_RECV, self._on_data),
            (evt.EVT_CONN_CLOSE, self._on_close),
        ]
        context = None if options.tls is None else server_context(options.tls)
        try:
            self._server = entity.start_server(
                (options.host, options.port), block=False, ssl_context=context, evt_handlers=handlers
            )
        except OSError as error:
            where = f"{options.host}:{options.port}"
            raise OutputError(f"the DICOM port cannot be used ({error.strerror})", where=where) from error
        self._entity = entity

    def __enter__(self) -> Node:
        return self

    def __exit__(self, *_: object) -> None:
        self._entity.shutdown()

    @property
    def port(self) -> int:
        """The port it listens on, also where the settings leave the choice to the system."""
        assert self._server is not None
        return int(self._server.server_address[1])

    def _on_request(self, event: Event) -> None:
        """Reject a peer that is not on the list, or not at its address."""
        requestor = event.assoc.requestor
        assert requestor.primitive is not None
        # the requestor's own attribute is filled in after the negotiation only
        address, title = str(requestor.address), str(requestor.primitive.calling_ae_title).strip()
        if self._is_peer(title, address):
            return
        known = any(peer.ae_title == title for peer in self._options.peers)
        reason = "known AE title at an unknown address" if known else "unknown AE title"
        self._service.audit("association rejected", actor=f"address {address}", reason=reason)
        event.assoc.acse.send_reject(_REJECT, _SERVICE_USER, _CALLING_UNKNOWN)
        event.assoc.kill()

    def _is_peer(self, title: str, address: str) -> bool:
        return any(peer.ae_title == title and _is_at(peer, address) for peer in self._options.peers)

    def _on_data(self, event: Event) -> None:
        """Cut an association off whose object grows beyond the cap."""
        with self._lock:
            key = id(event.assoc)
            received = self._received[key] = self._received.get(key, 0) + len(event.data)
        if received > self._service.settings.limits.object_mb * _MEGABYTE:
            self._service.audit("association aborted", actor=_sender(event.assoc), reason="an object above the cap")
            event.assoc.abort()

    def _on_close(self, event: Event) -> None:
        with self._lock:
            self._received.pop(id(event.assoc), None)
        # pynetdicom keeps the file of an object whose sender hung up in the middle
        if (half := getattr(event.assoc.dimse.message, "_data_set_file", None)) is not None:
            half.close()
            Path(half.name).unlink(missing_ok=True)

    def _on_store(self, event: Event) -> int:
        """Keep one object; success is answered when it is safe."""
        with self._lock:
            self._received[id(event.assoc)] = 0
        arrived: Path = event.dataset_path
        sender = _sender(event.assoc)
        try:
            spooled = self._intake.spool()
            shutil.move(arrived, spooled)
            request: Any = event.request
            promised = {
                "SOPClassUID": str(request.AffectedSOPClassUID),
                "SOPInstanceUID": str(request.AffectedSOPInstanceUID),
            }
            outcome = self._intake.accept(spooled, sender, promised)
        except (ResightError, OSError) as error:
            _log.warning("an object could not be kept: %s", type(error).__name__)
            return OUT_OF_RESOURCES
        finally:
            arrived.unlink(missing_ok=True)
        if outcome.state != "refused":
            return SUCCESS
        return MISMATCH if "announced" in outcome.reason or "same SOP" in outcome.reason else CANNOT_UNDERSTAND


def _sender(association: Association) -> str:
    return f"node {str(association.requestor.ae_title).strip()}"


def _is_at(peer: Peer, address: str) -> bool:
    return address_is_allowed(address, [ipaddress.ip_network(network) for network in peer.networks])

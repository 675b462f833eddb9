"""A site's process: asks the server for messages, answers them, and comes back after any interruption.

It speaks Flower's fleet protocol over mutual TLS and hands every message to the site's `ClientApp`. Unlike a stock
SuperNode it does not fetch and run an app that the server chooses: the code is what the hospital installed.
"""

from __future__ import annotations

import email.utils
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from resight.errors import ResightError, SettingsError, TrainingError
from resight.federated.provision import Kit
from resight.federated.server import HEARTBEAT_S
from resight.federated.site import Site
from resight.federated.wire import client_app, flower, unpack

_POLL_S: Final = 0.3
_RETRY_S: Final = 1.0


class _LostError(Exception):
    """The server cannot be reached, or does not know this site any more; it is tried again."""


def take_part(
    site: Site, kit: Kit, *, address: str = "", wait_s: float = 600.0, say: Callable[[str], None] = print
) -> None:
    """Take part until the server says that it is done.

    Args:
        site: answers the messages.
        kit: of the site.
        address: `host:port`, where it is not the kit's.
        wait_s: how long to try again when the server cannot be reached.
        say: told in one line what happens.

    Raises:
        TrainingError: the server refuses this site, is not the one of the kit, or stays away.
    """
    target = address or kit.options.address
    app = client_app(site, lambda error: say("".join(traceback.format_exception(error))))
    patience, away = time.monotonic() + wait_s, False
    while True:
        try:
            with _connection(kit, target) as fleet:
                say(f"connected to {target} as {site.name}")
                away = False
                while not _one(fleet, app):
                    patience = time.monotonic() + wait_s
                say("the server is done")
                return
        except _LostError as lost:
            if time.monotonic() > patience:
                fix = "Ask whether the server is running, then start again; nothing is lost."
                raise TrainingError(f"no server for {wait_s:g} seconds ({lost})", where=target, fix=fix) from lost
            if not away:
                say(f"no server at {target} ({lost}); trying again for {wait_s:g} seconds")
            away = True
            time.sleep(_RETRY_S)


class _Fleet:
    """One connection: the client, this node, and a heartbeat."""

    def __init__(self, client: Any, node: Any) -> None:
        self.client, self.node = client, node
        self.stop, self.lost = threading.Event(), False
        self._beat = flower("flwr.proto.heartbeat_pb2").SendNodeHeartbeatRequest
        threading.Thread(target=self._beats, daemon=True).start()

    def _beats(self) -> None:
        while not self.stop.wait(HEARTBEAT_S / 2):
            try:
                request = self._beat(node=self.node, heartbeat_interval=HEARTBEAT_S)
                self.lost = not self.client.SendNodeHeartbeat(request).success
            except Exception:  # noqa: BLE001 (the main thread will meet the same error and say what it is)
                self.lost = True


@contextmanager
def _connection(kit: Kit, target: str) -> Iterator[_Fleet]:
    keys, fleet_pb2 = kit.node_keys(), flower("flwr.proto.fleet_pb2")
    client = flower("flwr.supernode.fleet_http_client").FleetHttpClient(
        f"https://{target}",
        interceptors=[
            flower("flwr.supercore.interceptors.http.runtime_version").RuntimeVersionHttpInterceptor(
                component_name="SuperNode"
            ),
            flower("flwr.supernode.node_auth_http_interceptor").NodeAuthHttpInterceptor(*keys),
        ],
        verify=_tls(kit),
    )
    with client:
        public = flower("flwr.supercore.primitives.asymmetric").public_key_to_bytes(keys[1])
        request = fleet_pb2.ActivateNodeRequest(public_key=public, heartbeat_interval=HEARTBEAT_S)
        with _translated(target):
            node_id = client.ActivateNode(request).node_id
        fleet = _Fleet(client, flower("flwr.proto.node_pb2").Node(node_id=node_id))
        try:
            with _translated(target):
                yield fleet
        finally:
            fleet.stop.set()
            with suppress(Exception):
                client.DeactivateNode(fleet_pb2.DeactivateNodeRequest(node_id=node_id))


def _one(fleet: _Fleet, app: Any) -> bool:
    """Answer one message, if there is one.

    Returns:
        Whether it was the last.
    """
    if fleet.lost:
        raise _LostError("it does not know this site any more")
    pulled = fleet.client.PullMessages(flower("flwr.proto.fleet_pb2").PullMessagesRequest(node=fleet.node))
    if not pulled.messages_list:
        time.sleep(_POLL_S)
        return False
    run_id = pulled.messages_list[0].metadata.run_id
    inflate = flower("flwr.supercore.inflatable.inflatable_utils")
    protobuf = flower("flwr.supercore.inflatable.inflatable_protobuf_utils")
    flower_app, serde = flower("flwr.app"), flower("flwr.common.serde")
    tree = pulled.message_object_trees[0]
    message = inflate.pull_and_inflate_object_from_tree(
        tree,
        protobuf.make_pull_object_fn_protobuf(fleet.client.PullObject, fleet.node, run_id),
        protobuf.make_confirm_message_received_fn_protobuf(fleet.client.ConfirmMessageReceived, fleet.node, run_id),
        return_type=flower_app.Message,
    )
    message.metadata.__dict__["_message_id"] = tree.object_id
    context = flower_app.Context(run_id, fleet.node.node_id, {}, flower_app.RecordDict(), {})
    began = time.monotonic()
    reply = app(message, context)
    reply.metadata.__dict__["_message_id"] = reply.object_id
    core = flower("flwr.supercore.inflatable.inflatable_object")
    with core.no_object_id_recompute():
        without = flower("flwr.app.message.message").remove_content_from_message(reply)
        pushed = fleet.client.PushMessages(
            flower("flwr.proto.fleet_pb2").PushMessagesRequest(
                node=fleet.node,
                messages_list=[serde.message_to_proto(without)],
                message_object_trees=[core.get_object_tree(reply)],
                clientapp_runtime_list=[time.monotonic() - began],
            )
        )
        inflate.push_objects(
            core.get_all_nested_objects(reply),
            protobuf.make_push_object_fn_protobuf(fleet.client.PushObject, fleet.node, run_id, pushed.session_id),
            object_ids_to_push=set(pushed.objects_to_push),
        )
    request = unpack(message.content)
    if request.kind == "done" and (reason := request.facts.get("reason")):
        fix = "Correct it and start again; the same command takes part from the next round on."
        raise TrainingError(f"the server does not take this site ({reason})", fix=fix)
    return request.kind == "done"


def _tls(kit: Kit) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=kit.authority.decode("ascii"))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(kit.certificate, kit.key)
    except (ssl.SSLError, OSError) as error:
        found = f"certificate and key do not belong together ({error})"
        raise SettingsError(found, where=str(kit.folder), fix="Use the kit as it was made.") from error
    return context


@contextmanager
def _translated(target: str) -> Iterator[None]:
    """Errors of the network as one line, or as a reason to try again."""
    httpx = flower("httpx")
    try:
        yield
    except ResightError:
        raise
    except httpx.HTTPStatusError as error:
        _refusal(error, target)
    except (httpx.TransportError, ConnectionError) as error:
        reason = str(error)
        if "certificate" in reason.lower():
            fix = "Check clock and start-up kit; the server must use the kit of the same federation."
            raise TrainingError(f"TLS was refused ({reason})", where=target, fix=fix) from error
        raise _LostError(reason or type(error).__name__) from error


def _refusal(error: Any, target: str) -> None:
    response = error.response
    if response.status_code == 401:
        date = response.headers.get("date")
        ahead = 0.0 if date is None else time.time() - email.utils.parsedate_to_datetime(date).timestamp()
        limits = flower("flwr.common.constant")
        tolerated = limits.SYSTEM_TIME_TOLERANCE - 1  # the date header counts whole seconds
        if ahead > tolerated or -ahead > limits.TIMESTAMP_TOLERANCE + tolerated:
            found = (
                f"this machine's clock is {abs(ahead):.0f} seconds {'ahead of' if ahead > 0 else 'behind'} the server's"
            )
            fix = "Set the clock, best by a time server."
            raise TrainingError(found, where=target, fix=fix) from error
        fix = "Ask for a start-up kit of this federation."
        raise TrainingError("the server does not accept this site's key", where=target, fix=fix) from error
    if response.status_code == 403:
        fix = "Ask for a start-up kit of this federation."
        raise TrainingError("this site's key is not on the server's roster", where=target, fix=fix) from error
    raise _LostError(f"HTTP {response.status_code}: {response.text[:200]}") from error

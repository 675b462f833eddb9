"""The server of a federation: Flower's fleet interface over mutual TLS, and the coordinator in the same process.

Only the interface that sites use is served; there is nothing through which code or runs could be submitted. A site is
let in with a certificate of the federation's authority (TLS) and a key that is on the roster (Flower).
"""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from resight.errors import OutputError, TrainingError
from resight.federated.audit import Audit, run_audit
from resight.federated.coordinator import Coordinator
from resight.federated.history import History
from resight.federated.messages import Message
from resight.federated.outcome import open_folder, write_bundle, write_outcome
from resight.federated.provision import Kit, split_address
from resight.federated.settings import FederatedSettings
from resight.federated.settings_check import check_settings
from resight.federated.wire import GridTransport, flower, server_app
from resight.types import Progress, silent

HEARTBEAT_S: Final = 10.0
"""A site is taken for gone after two of these without a sign."""
_START_S: Final = 30.0
_GOODBYE_S: Final = 10.0


class Served:
    """A finished federation, as `write_outcome` takes it."""

    def __init__(self, audit: Audit, history: History) -> None:
        self.name, self.audit, self.history = "federated", audit, history


def serve(
    settings: FederatedSettings,
    kit: Kit,
    folder: Path,
    *,
    bind: str = "",
    resume: bool = False,
    progress: Progress = silent,
    say: Callable[[str], object] = str,
) -> Audit:
    """Wait for the sites, train, audit, and write what came of it.

    Args:
        settings: the experiment; `[cohort]` is not used, as the server holds no images.
        kit: of the server.
        folder: of the run.
        bind: `host:port` to listen on, where it is not the kit's address.
        resume: go on after the last finished round.
        progress: told after every round.
        say: told in one line where sites may come, who came, who was refused, and what is waited for.

    Raises:
        OutputError: the port is in use, or the folder is taken.
        TrainingError: too few sites.
    """
    check_settings(settings)
    address = bind or kit.options.address
    listening = _socket(address)
    with listening:
        open_folder(settings, folder, resume=resume)
        arrivals: dict[int, int] = {}
        app, state = _application(arrivals)
        grid = _grid(state)
        nodes = {_register(state, name, key): name for name, key in kit.nodes.items()}
        arrivals |= dict.fromkeys(nodes, 0)
        with _served(app, kit, listening):
            say(f"listening on {address} for {', '.join(kit.roster)}")
            found: list[Audit] = []

            def run(transport: GridTransport) -> None:
                coordinator = Coordinator(settings, transport, folder, resume=resume, progress=progress, say=say)
                coordinator.train()
                audit = run_audit(coordinator)
                write_bundle(coordinator, audit, folder / "bundle")
                write_outcome(settings, folder, [Served(audit, coordinator.history)])
                transport.ask(dict.fromkeys(transport.sites(), Message("done")), _GOODBYE_S)
                found.append(audit)

            parts = flower("flwr.app")
            context = parts.Context(grid.run.run_id, 1, {}, parts.RecordDict(), {})
            server_app(run, nodes, arrivals)(grid, context)
    return found[0]


def _socket(address: str) -> socket.socket:
    host, port = split_address(address)
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind(place)
            listening.listen()  # binding alone does not find out that somebody listens already
        except OSError:
            listening.close()
            raise
    except OSError as error:
        fix = "End the program that uses the port, or give another one with --bind."
        raise OutputError(f"cannot listen there ({error.strerror})", where=address, fix=fix) from error
    return listening


@contextmanager
def _served(app: Any, kit: Kit, listening: socket.socket) -> Iterator[None]:
    """Serve the fleet interface in a thread, over TLS that asks both sides for certificates."""
    uvicorn = flower("uvicorn")
    config = uvicorn.Config(
        app,
        log_config=None,
        ws="none",
        access_log=False,
        lifespan="off",
        ssl_certfile=str(kit.certificate),
        ssl_keyfile=str(kit.key),
        ssl_ca_certs=str(kit.folder / "ca.crt"),
        ssl_cert_reqs=ssl.CERT_REQUIRED,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        end = time.monotonic() + _START_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > end:
                raise TrainingError("the network interface did not start", where=kit.options.address)
            time.sleep(0.05)
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=_GOODBYE_S)


def _application(arrivals: dict[int, int]) -> tuple[Any, Any]:
    """The fleet interface, and Flower's state behind it."""
    middleware, base = flower("starlette.middleware").Middleware, flower("starlette.middleware.base")
    loader, constant = flower("flwr.superlink.config_loader"), flower("flwr.supercore.constant")
    _, factory = loader.get_objectstore_linkstate_factories(
        constant.FLWR_IN_MEMORY_DB_NAME, loader.get_federation_manager(is_simulation=False)
    )
    logging.getLogger("flwr").setLevel(logging.CRITICAL)  # we say ourselves, in one line, who came and who was refused
    state = factory.state()
    layers = [
        middleware(base.BaseHTTPMiddleware, dispatch=flower("flwr.supercore.error").http_error_translator),
        middleware(flower("flwr.supercore.protobuf.translation").ProtobufTranslationMiddleware),
        middleware(flower("flwr.superlink.routers.fleet.node_auth").NodeAuthMiddleware),
        middleware(base.BaseHTTPMiddleware, dispatch=_doorkeeper(state, arrivals)),
    ]
    app = flower("fastapi").FastAPI(middleware=layers, docs_url=None, redoc_url=None, openapi_url=None)
    app.state.linkstate_factory = factory
    app.state.enable_supernode_auth = True
    app.include_router(flower("flwr.superlink.routers.fleet.router").router)
    return app, state


def _doorkeeper(state: Any, arrivals: dict[int, int]) -> Callable[[Any, Any], Any]:
    """Behind the check of the signature: says who is not on the roster, and lets a site that was killed come back."""
    response = flower("starlette.responses").JSONResponse

    async def dispatch(request: Any, call_next: Any) -> Any:
        if request.url.path.endswith("/activate-node"):
            node = state.get_node_id_by_public_key(request.state.protobuf_request.public_key)
            if node is None:
                return response({"detail": "not on the roster"}, status_code=403)
            state.deactivate_node(node)  # whoever holds the key is the site: its last process is gone
            arrivals[node] += 1
        return await call_next(request)

    return dispatch


def _register(state: Any, name: str, public_key: bytes) -> int:
    constant = flower("flwr.common.constant")
    return int(state.create_node(constant.NOOP_FLWR_AID, name, public_key, HEARTBEAT_S))


def _grid(state: Any) -> Any:
    """A grid in this process for a run that has begun."""
    constant, identity = flower("flwr.common.constant"), flower("flwr.supercore.task_identity").TaskIdentity
    federation = flower("flwr.supercore.constant").NOOP_FEDERATION_ID
    kind = flower("flwr.supercore.constant").TaskType.SERVER_APP
    run_id = state.create_run(None, None, None, {}, federation, None, constant.NOOP_FLWR_AID, kind)
    (run,) = state.get_run_info(run_ids=[run_id])
    state.claim_task(run.primary_task_id)
    state.activate_task(run.primary_task_id)
    identity.run_id, identity.task_id, identity.node_id = run_id, run.primary_task_id, constant.SUPERLINK_NODE_ID
    (task,) = state.get_tasks(task_ids=[run.primary_task_id])
    _alive(state, run.primary_task_id)
    grid = _local_grid(flower("flwr.superlink.grid.http_grid").HttpGrid, state, task)
    grid.set_run(run)
    return grid


def _alive(state: Any, task_id: int) -> None:
    """Tell Flower again and again that the run goes on; ends with the process."""

    def beat() -> None:
        while state.acknowledge_task_heartbeat(task_id):
            time.sleep(HEARTBEAT_S)

    threading.Thread(target=beat, daemon=True).start()


def _local_grid(base: type[Any], state: Any, task: Any) -> Any:
    """Flower's own grid, with calls of functions where it would send requests to this same process."""
    handlers = flower("flwr.superlink.servicer.runtime.runtime_handlers")

    class Handlers:
        def __getattr__(self, name: str) -> Callable[[Any], Any]:
            snake = "".join("_" + c.lower() if c.isupper() else c for c in name).lstrip("_")
            handler = getattr(handlers, snake)
            return lambda request: handler(request, state, task)

    class LocalGrid(base):
        @cached_property
        def _runtime_client(self) -> Any:
            return Handlers()

    return LocalGrid(token="in-process")  # noqa: S106 (not a secret: nothing is sent)

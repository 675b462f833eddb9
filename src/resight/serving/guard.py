"""What every HTTP request goes through first: allow-list of addresses, cap on the body, headers for browsers."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TLS_HEADER: Final = "max-age=31536000"


class Guard:
    """ASGI middleware.

    Args:
        app: what it guards.
        networks: clients are let in from these only; from everywhere when empty.
        body_bytes: largest body; a longer one is cut off with 413, whether or not its length was announced.
        tls: the server speaks TLS, so browsers may be told to insist on it.
    """

    def __init__(self, app: ASGIApp, *, networks: Iterable[str], body_bytes: int, tls: bool) -> None:
        self._app = app
        self._networks = [ipaddress.ip_network(network) for network in networks]
        self._body_bytes = body_bytes
        self._headers = {**_HEADERS, **({"Strict-Transport-Security": _TLS_HEADER} if tls else {})}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request through, or answer it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        if not address_is_allowed(client[0] if client else "", self._networks):
            await JSONResponse({"detail": "this address is not on the list"}, 403)(scope, receive, send)
            return
        state = _Body(self._body_bytes, receive)
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        if not announced.isdigit() or int(announced) > self._body_bytes:
            await self._refuse(scope, receive, send)
            return
        started = False

        async def answer(message: Message) -> None:
            nonlocal started
            if state.is_too_long and not started:
                raise _TooLong  # whatever the application made of a body that was cut off
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, state.receive, answer)
        except _TooLong:
            if not started:
                await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"the body is larger than {self._body_bytes} bytes"
        headers = {"Connection": "close", **self._headers}
        await JSONResponse({"detail": detail}, 413, headers)(scope, receive, send)


def address_is_allowed(address: str, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> bool:
    """Whether an address lies in one of the networks; true where there are none."""
    known = list(networks)
    if not known:
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in known)


class _TooLong(Exception):  # noqa: N818 - it never leaves this file
    pass


class _Body:
    """Counts what a client sends."""

    def __init__(self, most: int, receive: Receive) -> None:
        self._left = most
        self._receive = receive

    @property
    def is_too_long(self) -> bool:
        """Whether more came than may."""
        return self._left < 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self.is_too_long:
                raise _TooLong
        return message

"""Start-up kits: a certificate authority of the federation's own, certificates, site keys and the roster of sites.

    ca/                 ca.key, ca.crt: stays with whoever runs the federation, away from the server
    server/             server.key, server.crt, ca.crt, roster.json, roster.sig, kit.toml
    sites/<name>/       site.key, site.crt, sign.key, ca.crt, roster.json, roster.sig, kit.toml

One P-384 key is a site's TLS client key and what Flower authenticates it by; an Ed25519 key signs its part in secure
sums. The roster (names and public keys) is signed by the authority, so that a server cannot invent sites.
"""

from __future__ import annotations

import ipaddress
import json
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import Field

from resight.errors import OutputError, SettingsError, require
from resight.settings import Options, dump_toml, load_toml

_SKEW: Final = timedelta(minutes=5)
"""Certificates begin a little earlier than now, as clocks differ."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class KitOptions(Options):
    """What `kit.toml` says: who the kit is for, and where the server is."""

    role: str = Field(description="server or site")
    name: str = Field(description="the site, or 'server'")
    address: str = Field(description="host:port of the server")


@dataclass(frozen=True)
class Kit:
    """A start-up kit that was read and checked.

    Attributes:
        folder: where it lies.
        options: whose it is.
        authority: certificate of the authority, PEM.
        roster: site -> raw Ed25519 public key.
        nodes: site -> P-384 public key, PEM, as Flower wants it.
    """

    folder: Path
    options: KitOptions
    authority: bytes
    roster: dict[str, bytes]
    nodes: dict[str, bytes]

    @property
    def certificate(self) -> Path:
        """Its TLS certificate."""
        return self.folder / f"{self.options.role}.crt"

    @property
    def key(self) -> Path:
        """The certificate's private key."""
        return self.folder / f"{self.options.role}.key"

    def node_keys(self) -> tuple[Any, Any]:
        """Private and public key that Flower authenticates a site by."""
        private = _serialization().load_pem_private_key(self.key.read_bytes(), None)
        return private, private.public_key()

    def identity(self) -> Any:
        """The Ed25519 private key of a site."""
        return _serialization().load_pem_private_key((self.folder / "sign.key").read_bytes(), None)


def provision(folder: Path, sites: Sequence[str], address: str, *, days: float = 365.0) -> None:
    """Make an authority and the kits of a federation; they appear complete or not at all.

    Args:
        folder: must not exist.
        sites: names: letters, digits, dot, dash, underscore.
        address: `host:port` where sites reach the server.
        days: how long certificates hold.

    Raises:
        SettingsError: a name or the address is impossible.
        OutputError: the folder exists or cannot be written.
    """
    host, _ = split_address(address)
    for name in sites:
        if not _NAME.fullmatch(name):
            raise SettingsError(f"site {name!r}", where="--sites", expected="letters, digits, '.', '-' and '_'")
    if len(set(sites)) < len(sites) or len(sites) < 2:
        raise SettingsError(f"{len(sites)} sites", where="--sites", expected="at least two different names")
    if folder.exists():
        raise OutputError("exists already", where=str(folder), fix="Choose another folder.")
    unfinished = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    try:
        _write(unfinished, list(sites), address, host, timedelta(days=days))
        unfinished.rename(folder)
    except OSError as error:
        raise OutputError(f"cannot be written ({error.strerror})", where=str(folder)) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def read_kit(folder: Path, role: str) -> Kit:
    """Read a kit, and check its roster's signature and that its certificate is valid now.

    Args:
        folder: of the kit.
        role: `server` or `site`.

    Raises:
        SettingsError: not a kit of that role, incomplete, changed, or expired.
    """
    x509 = require("cryptography.x509", extra="federated")
    where, options = str(folder), load_toml(folder / "kit.toml", KitOptions)
    if options.role != role:
        raise SettingsError(f"the start-up kit of a {options.role}", where=where, expected=f"that of a {role}")
    try:
        authority = (folder / "ca.crt").read_bytes()
        certificate = x509.load_pem_x509_certificate((folder / f"{role}.crt").read_bytes())
        parent = x509.load_pem_x509_certificate(authority)
        text, signature = (folder / "roster.json").read_bytes(), (folder / "roster.sig").read_bytes()
        (folder / f"{role}.key").read_bytes()
    except (OSError, ValueError) as error:
        raise SettingsError(f"the start-up kit is incomplete ({error})", where=where) from error
    invalid = require("cryptography.exceptions", extra="federated").InvalidSignature
    try:
        parent.public_key().verify(signature, text, _ecdsa())
        certificate.verify_directly_issued_by(parent)
    except (invalid, ValueError) as error:
        fix = "Use the kit as it was made."
        raise SettingsError("the kit is not that of its authority, or was changed", where=where, fix=fix) from error
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        early = now < certificate.not_valid_before_utc
        limit = certificate.not_valid_before_utc if early else certificate.not_valid_after_utc
        found = f"the certificate is not valid {'before' if early else 'after'} {limit.isoformat(timespec='seconds')}"
        fix = "Check this machine's clock, or ask for a new kit."
        raise SettingsError(found, where=where, expected=f"now, {now.isoformat(timespec='seconds')}", fix=fix)
    sites = json.loads(text)["sites"]
    roster = {name: bytes.fromhex(one["sign"]) for name, one in sites.items()}
    return Kit(folder, options, authority, roster, {name: one["node"].encode() for name, one in sites.items()})


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port`.

    Raises:
        SettingsError: not of that form.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise SettingsError(f"address {address!r}", expected="host:port, for example federation.hospital.org:9443")
    return host.strip("[]"), int(port)


def _write(folder: Path, sites: list[str], address: str, host: str, lasting: timedelta) -> None:
    ec = require("cryptography.hazmat.primitives.asymmetric.ec", extra="federated")
    ed25519 = require("cryptography.hazmat.primitives.asymmetric.ed25519", extra="federated")
    authority = _Authority(lasting)
    keys = {name: (ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()) for name in sites}
    roster = {
        name: {"node": _public(node).decode(), "sign": sign.public_key().public_bytes_raw().hex()}
        for name, (node, sign) in keys.items()
    }
    text = json.dumps({"sites": roster}, indent=1, sort_keys=True).encode()
    shared = {"ca.crt": authority.pem, "roster.json": text, "roster.sig": authority.key.sign(text, _ecdsa())}
    server = ec.generate_private_key(ec.SECP384R1())
    _files(folder / "ca", {"ca.crt": authority.pem, "ca.key": _private(authority.key)})
    own = {"server.key": _private(server), "server.crt": authority.issue("server", server, host)}
    _files(folder / "server", shared | own | _options("server", "server", address))
    for name, (node, sign) in keys.items():
        own = {"site.key": _private(node), "site.crt": authority.issue(name, node), "sign.key": _private(sign)}
        _files(folder / "sites" / name, shared | own | _options("site", name, address))


class _Authority:
    """A self-signed certificate, and what it signs."""

    def __init__(self, lasting: timedelta) -> None:
        self._x509 = require("cryptography.x509", extra="federated")
        ec = require("cryptography.hazmat.primitives.asymmetric.ec", extra="federated")
        self.key, self._lasting = ec.generate_private_key(ec.SECP384R1()), lasting
        x509 = self._x509
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        extensions = [(x509.BasicConstraints(ca=True, path_length=0), True), (usage, True)]
        self.certificate = self._signed("federation", self.key, extensions)
        self.pem = self.certificate.public_bytes(_serialization().Encoding.PEM)

    def issue(self, name: str, key: Any, host: str = "") -> bytes:
        """A certificate for the server at `host`, or for a site, as PEM."""
        x509 = self._x509
        usage = x509.oid.ExtendedKeyUsageOID
        extensions = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (x509.ExtendedKeyUsage([usage.SERVER_AUTH if host else usage.CLIENT_AUTH]), False),
        ]
        if host:
            names = [_general_name(x509, one) for one in dict.fromkeys((host, "localhost", "127.0.0.1"))]
            extensions.append((x509.SubjectAlternativeName(names), False))
        return self._signed(name, key, extensions).public_bytes(_serialization().Encoding.PEM)

    def _signed(self, name: str, key: Any, extensions: list[tuple[Any, bool]]) -> Any:
        x509, now = self._x509, datetime.now(UTC)

        def named(text: str) -> Any:
            return x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, text)])

        public = self.key.public_key()
        builder = x509.CertificateBuilder(
            issuer_name=named("federation"),
            subject_name=named(name),
            public_key=key.public_key(),
            serial_number=x509.random_serial_number(),
            not_valid_before=now - _SKEW,
            not_valid_after=now + self._lasting,
        )
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        builder = builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, require("cryptography.hazmat.primitives.hashes", extra="federated").SHA256())


def _general_name(x509: Any, host: str) -> Any:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _options(role: str, name: str, address: str) -> dict[str, bytes]:
    return {"kit.toml": dump_toml(KitOptions(role=role, name=name, address=address)).encode()}


def _files(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, text in contents.items():
        path = folder / name
        path.touch(mode=0o600 if name.endswith(".key") else 0o644)
        path.write_bytes(text)


def _private(key: Any) -> bytes:
    of = _serialization()
    return key.private_bytes(of.Encoding.PEM, of.PrivateFormat.PKCS8, of.NoEncryption())


def _public(key: Any) -> bytes:
    of = _serialization()
    return key.public_key().public_bytes(of.Encoding.PEM, of.PublicFormat.SubjectPublicKeyInfo)


def _serialization() -> Any:
    return require("cryptography.hazmat.primitives.serialization", extra="federated")


def _ecdsa() -> Any:
    ec = require("cryptography.hazmat.primitives.asymmetric.ec", extra="federated")
    return ec.ECDSA(require("cryptography.hazmat.primitives.hashes", extra="federated").SHA256())

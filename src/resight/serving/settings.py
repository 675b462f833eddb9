"""The settings file of the service: what listens where, who may speak to it, which bundle answers for which images."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from resight.findings import Code, ObjectKind
from resight.settings import Options, load_toml

Role = Literal["reader", "admin", "service"]

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text, strict=False))


Network = Annotated[str, AfterValidator(_network)]
AETitle = Annotated[str, Field(min_length=1, max_length=16, pattern=r"^[\x21-\x5b\x5d-\x7e]([\x20-\x5b\x5d-\x7e]*)$")]


class TLS(Options):
    """Certificate of this server, and whether clients must show theirs."""

    certificate: Path = Field(description="PEM file with the certificate and its chain")
    key: Path = Field(description="PEM file with the private key")
    client_ca: Path | None = Field(
        default=None, description="clients must show a certificate signed by one of these (mutual TLS)"
    )


class HTTPOptions(Options):
    """The web server: pages, REST and STOW-RS."""

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8080, ge=0, le=65535)
    tls: TLS | None = None
    networks: tuple[Network, ...] = Field(default=(), description="clients are let in from these only; all when empty")


class Peer(Options):
    """An application entity that may send."""

    ae_title: AETitle
    networks: tuple[Network, ...] = Field(
        default=(), description="it is let in from these only; from anywhere if empty"
    )


class DICOMOptions(Options):
    """The DICOM node: C-ECHO and C-STORE."""

    ae_title: AETitle = "RESIGHT"
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=11112, ge=0, le=65535)
    tls: TLS | None = None
    peers: tuple[Peer, ...] = Field(default=(), description="who may send; nobody when empty")
    associations: int = Field(default=30, ge=1, description="most that are open at once")
    timeout_s: float = Field(default=60.0, gt=0, description="longest silence of a peer")


class WatchOptions(Options):
    """A folder into which other programs put files."""

    folder: Path
    every_s: float = Field(default=5.0, gt=0, description="how often it is looked at")
    settled_s: float = Field(default=10.0, ge=0, description="a file is taken when it has not changed for so long")


class ModelEntry(Options):
    """A bundle and the images it answers for. Of several that fit, each answers."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    bundle: Path = Field(description="folder of the bundle")
    modalities: tuple[str, ...] = Field(default=(), description="DICOM modality codes; any when empty")
    body_parts: tuple[str, ...] = Field(default=(), description="values of Body Part Examined; any when empty")
    views: tuple[str, ...] = Field(default=(), description="values of View Position; any when empty")
    unknown_fits: bool = Field(
        default=False, description="images whose header does not say body part or view are taken"
    )
    operating_point: str | None = Field(default=None, description="decide at this one; the bundle's first if not given")
    refuse: tuple[str, ...] = Field(
        default=("constant", "inverted", "rotated", "wrong-modality"),
        description="sentinels of the bundle on whose word an image is refused",
    )
    expects: str = Field(
        default="", description="what its images are, as `frontal chest radiograph`; a refusal of others says it"
    )
    explainer: str | None = Field(default="gradcam", description="draws the overlay")
    objects: tuple[ObjectKind, ...] = Field(default=("sr", "sc"), description="what is written of a result")
    engine: Literal["auto", "torch", "onnx", "openvino"] = Field(
        default="auto", description="what computes; auto: the fastest here that answers as the network does"
    )
    precision: Literal["auto", "fp32", "bf16", "int8"] = Field(
        default="fp32", description="number format of the engine"
    )
    codes: dict[str, Code] = Field(
        default={}, description="code of a label, where Resight's own table should not be used"
    )


class Destination(Options):
    """Where results are sent."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    kind: Literal["c-store", "stow"] = "c-store"
    host: str = Field(default="127.0.0.1", description="c-store: address of the archive")
    port: int = Field(default=104, ge=1, le=65535, description="c-store: its port")
    ae_title: AETitle = Field(default="ARCHIVE", description="c-store: its AE title")
    url: str = Field(
        default="", description="stow: address of the studies resource, as https://archive/dicom-web/studies"
    )
    token_file: Path | None = Field(default=None, description="stow: file with the bearer token")
    ca: Path | None = Field(default=None, description="PEM file the archive's certificate is checked by; turns TLS on")
    certificate: Path | None = Field(default=None, description="our certificate, where the archive demands one")
    key: Path | None = Field(default=None, description="private key of that certificate")
    timeout_s: float = Field(default=30.0, gt=0)

    @model_validator(mode="after")
    def _addressed(self) -> Self:
        if (self.kind == "stow") != bool(self.url):
            raise ValueError("a url for stow, and for stow only")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key together")
        return self


class DeliveryOptions(Options):
    """How often sending is tried again."""

    first_wait_s: float = Field(
        default=2.0, gt=0, description="after the first failure; doubled after each further one"
    )
    longest_wait_s: float = Field(default=600.0, gt=0)


class Limits(Options):
    """Caps that keep one sender from taking all memory, all time or all disk."""

    upload_mb: int = Field(default=256, ge=1, description="largest body of an HTTP request")
    object_mb: int = Field(
        default=1024, ge=1, description="largest DICOM object that is taken by C-STORE or the watch folder"
    )
    pixel_values: int = Field(default=200_000_000, ge=1, description="rows x columns x frames x samples of one object")
    frames: int = Field(default=2000, ge=1, description="frames of one object")
    parse_memory_mb: int = Field(default=1500, ge=200, description="memory of a process that reads files")
    parse_timeout_s: float = Field(default=30.0, gt=0, description="time for reading one file")
    parsers: int = Field(default=2, ge=1, le=64, description="processes that read files")
    in_flight: int = Field(default=16, ge=1, description="requests for predictions at once; more are told to come back")
    batch: int = Field(default=8, ge=1, description="images that go through a network together")
    batch_wait_ms: float = Field(default=4.0, ge=0, description="how long an image waits for company")
    drawn_images: int = Field(
        default=64,
        ge=1,
        description="images of a study that captures, maps and presentation states are made of, the most urgent first; "
        "the report has all",
    )
    free_disk_mb: int = Field(default=500, ge=0, description="with less than this free nothing is taken any more")
    attempts: int = Field(default=5, ge=1, description="a study that fails is tried so often, then kept for a person")


class OIDCOptions(Options):
    """Sign-in through the hospital's identity provider (OpenID Connect, authorisation code with PKCE)."""

    issuer: str = Field(description="address whose /.well-known/openid-configuration describes the provider")
    client_id: str
    client_secret_file: Path | None = None
    redirect_url: str = Field(description="address of /login/oidc/callback as browsers see it")
    scope: str = Field(default="openid profile", description="what is asked for; `openid` has to be in it")
    role_claim: str = Field(default="roles", description="claim that holds the person's groups")
    roles: dict[str, Role] = Field(default={}, description="value of that claim to role; nobody else is let in")
    ca: Path | None = Field(default=None, description="PEM file the provider's certificate is checked by")

    @model_validator(mode="after")
    def _secure(self) -> Self:
        address = urlsplit(self.issuer)
        if address.scheme != "https" and (address.scheme != "http" or address.hostname not in _LOOPBACK):
            raise ValueError("an issuer with https")
        return self


class SecurityOptions(Options):
    """Sign-in."""

    require_tls: bool = Field(default=False, description="refuse to start where HTTP or DICOM would go without TLS")
    session_hours: float = Field(default=10.0, gt=0, description="longest session")
    idle_minutes: float = Field(default=30.0, gt=0, description="a session ends after so long without a request")
    sign_in_attempts: int = Field(default=5, ge=1, description="failures after which a name or address has to wait")
    sign_in_wait_s: float = Field(default=60.0, gt=0, description="how long it has to wait then")
    oidc: OIDCOptions | None = None


class ServiceSettings(Options):
    """`resight serve SETTINGS.toml`."""

    folder: Path = Field(description="instances, results, and the database if it is SQLite")
    database: str | None = Field(
        default=None, description="as postgresql+psycopg://user@host/name; SQLite in the folder when not given"
    )
    site: str = Field(default="", description="name of the institution, written into results")
    quiet_s: float = Field(default=5.0, ge=0, description="a study is complete when nothing came for so long")
    quiet_after_start_s: float = Field(
        default=60.0, ge=0, description="a study that was coming in when the service ended is given so long to go on"
    )
    audit_heads: Path | None = Field(
        default=None, description="file the heads of the audit trail are appended to; best on another machine"
    )
    http: HTTPOptions = HTTPOptions()
    dicom: DICOMOptions | None = None
    watch: WatchOptions | None = None
    models: tuple[ModelEntry, ...] = ()
    destinations: tuple[Destination, ...] = ()
    delivery: DeliveryOptions = DeliveryOptions()
    limits: Limits = Limits()
    security: SecurityOptions = SecurityOptions()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for what, names in (
            ("model", [m.name for m in self.models]),
            ("destination", [d.name for d in self.destinations]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"every {what} under a name of its own")
        doors = {"http": self.http, "dicom": self.dicom}
        for name, door in doors.items():
            if door is None or door.tls is not None:
                continue
            if self.security.require_tls:
                raise ValueError(f"[{name}.tls], because security.require_tls is on")
            if name == "http" and door.host not in _LOOPBACK:
                raise ValueError("[http.tls], because passwords would cross the network in the clear")
        return self

    @property
    def database_url(self) -> str:
        """Address of the database."""
        return self.database or f"sqlite:///{self.folder / 'resight.sqlite'}"

    @property
    def heads_file(self) -> Path:
        """Where the heads of the audit trail are exported to."""
        return self.audit_heads or self.folder / "audit-heads.txt"


def load_service_settings(path: Path, overrides: tuple[str, ...] = ()) -> ServiceSettings:
    """Read the file; relative paths in it count from its folder.

    Raises:
        SettingsError: it cannot be read, or a key or value is wrong.
    """
    settings = load_toml(path, ServiceSettings, overrides)
    return ServiceSettings.model_validate(_anchored(settings.model_dump(), path.parent.absolute()))


def _anchored(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return folder / value
    if isinstance(value, dict):
        return {key: _anchored(inner, folder) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return tuple(_anchored(inner, folder) for inner in value)
    return value

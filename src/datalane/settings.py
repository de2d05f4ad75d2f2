"""Settings: small groups of validated values, read from `DATALANE_*` variables once, at start.

Times are timedeltas, sizes are bytes, secrets are masked when printed. A wrong value stops the program with the
variable's name and what would be right (`load_settings`).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from datalane.credentials import find_weak
from datalane.environment import PREFIX, Fault, find_unknown, variables_of
from datalane.errors import ConfigurationError
from datalane.kit.net import is_loopback
from datalane.kit.secrets import HOW_TO_MAKE

KIB = 1024
MIB = 1024 * KIB
_CORRECT = "correct its value, or leave it out for the default"
_COMPLETE = "set what is missing, or leave out what needs it"

Bytes = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


def _seconds(value: object) -> object:
    """A bare number is seconds; anything else is for pydantic (ISO 8601)."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Duration = Annotated[timedelta, BeforeValidator(_seconds), Field(gt=timedelta())]


LongDuration = Annotated[timedelta, BeforeValidator(_seconds), Field(ge=timedelta(hours=1))]


class Limits(BaseModel):
    """Past one of these the caller gets an error that names it."""

    request_body: Bytes = 1 * MIB
    upload: Bytes = 50 * MIB
    event_payload: Bytes = 256 * KIB
    event_payload_depth: Count = 32
    title_characters: Count = 500
    tags: Count = 50
    tag_characters: Count = 64
    metadata: Bytes = 64 * KIB
    metadata_depth: Count = 8
    fields: Count = 100
    views: Count = 200
    query_characters: Count = 8_000
    page_size: Count = 100
    exact_count: Count = 1_000
    batch: Count = 1_000
    chunks_per_document: Count = 50_000
    condition: Bytes = 4 * KIB
    rules: Count = 100
    causation_depth: Count = 16
    idempotency_window: Duration = timedelta(hours=24)
    dedupe_window: Duration = timedelta(days=30)


class JobSettings(BaseModel):
    lease: Duration = timedelta(seconds=60)
    heartbeat: Duration = timedelta(seconds=20)
    rescues: Count = 10
    max_attempts: Count = 3


class Retention(BaseModel):
    """`orphaned_originals` is at least an hour: a younger file may belong to an upload that is about to commit."""

    events: Duration = timedelta(days=90)
    job_history: Duration = timedelta(days=30)
    ingestion_log: Duration = timedelta(days=30)
    retrieval_log: Duration = timedelta(days=30)
    notifications: Duration = timedelta(days=90)
    orphaned_originals: LongDuration = timedelta(days=1)


class SessionSettings(BaseModel):
    session: Duration = timedelta(hours=1)
    refresh: Duration = timedelta(days=30)
    minimum_password_characters: Count = 10


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `burst` at once, and one more after each `pause`. Written `10/PT1M` or `10/60`."""

    burst: int
    pause: timedelta

    @classmethod
    def read(cls, text: str) -> Rate:
        burst, _, pause = text.partition("/")
        rate = cls(int(burst), TypeAdapter(Duration).validate_python(pause))
        if rate.burst < 1:
            raise ValueError
        return rate

    def __str__(self) -> str:
        return f"{self.burst}/{TypeAdapter(timedelta).dump_python(self.pause, mode='json')}"


def _rate(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Rate.read(value)
    except ValueError:
        raise ValueError("must be a count and the seconds until one more is allowed, such as 10/60") from None


Attempts = Annotated[Rate, BeforeValidator(_rate), NoDecode]


class AttemptSettings(BaseModel):
    """How often one may try: `sign_in` is one address from one client, `client` all sign-ins from one client."""

    sign_in: Attempts = Rate(10, timedelta(minutes=1))
    sign_in_address: Attempts = Rate(50, timedelta(seconds=10))
    client: Attempts = Rate(100, timedelta(seconds=2))
    sign_up: Attempts = Rate(30, timedelta(minutes=1))
    refresh: Attempts = Rate(120, timedelta(seconds=1))


SignUp = Literal["open", "invite_only", "closed"]
"""Who makes an account: everybody, who has an invite to the address, nobody."""


class IdentitySettings(BaseModel):
    sign_up: SignUp = "open"


class InviteSettings(BaseModel):
    lifetime: Duration = timedelta(days=7)


class Issuer(BaseModel):
    """An issuer of ID tokens (OpenID Connect): whom it must mean, where its keys are, how it may sign.

    `sign_up` says who of its people makes an account, when that differs from the identity settings.
    """

    model_config = ConfigDict(extra="forbid")

    issuer: Annotated[str, Field(min_length=1, max_length=500)]
    audience: Annotated[str, Field(min_length=1)]
    jwks_url: str
    algorithms: Annotated[tuple[Literal["RS256", "ES256", "EdDSA", "Ed25519"], ...], Field(min_length=1)] = ("RS256",)
    sign_up: SignUp | None = None

    @field_validator("jwks_url")
    @classmethod
    def _private(cls, value: str) -> str:
        parts = urlsplit(value)
        local = parts.hostname in {"localhost", "127.0.0.1", "::1"}
        if parts.scheme != "https" and not (parts.scheme == "http" and local):
            raise ValueError("must begin with https://, or be http:// on this machine")
        return value


def _listed(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        raise ValueError("must be JSON, a list of objects") from None


class OidcSettings(BaseModel):
    issuers: Annotated[tuple[Issuer, ...], BeforeValidator(_listed), NoDecode] = ()


class EmbeddingEndpoint(BaseModel):
    """A model behind an endpoint that speaks OpenAI's protocol. `url` is what stands before `/embeddings`.

    `version` names what is behind the model's name: another one is another space of vectors. `rate` is each
    workspace's, in requests; `batch` and `batch_characters` bound one request, and a text is cut to `text_characters`.
    """

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,31}$")]
    url: str
    model: Annotated[str, Field(min_length=1, max_length=100)]
    dimensions: Annotated[int, Field(ge=1, le=2_000)]
    version: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,32}$")] = "1"
    api_key: SecretStr | None = None
    send_dimensions: bool = False
    batch: Annotated[int, Field(ge=1, le=2_048)] = 128
    batch_characters: Count = 200_000
    text_characters: Count = 8_000
    rate: Attempts | None = None
    timeout: Duration = timedelta(seconds=30)

    @model_validator(mode="after")
    def _keeps_its_secret(self) -> Self:
        scheme = urlsplit(self.url).scheme
        if scheme not in {"https", "http"}:
            raise ValueError("url must begin with https:// or http://")
        if self.api_key is not None and scheme == "http" and not is_loopback(self.url):
            raise ValueError("url must begin with https:// where an api_key is sent, or be on this machine")
        return self

    @property
    def embeddings_url(self) -> str:
        return self.url.rstrip("/") + "/embeddings"


class EmbeddingSettings(BaseModel):
    endpoints: Annotated[tuple[EmbeddingEndpoint, ...], BeforeValidator(_listed), NoDecode] = ()

    @field_validator("endpoints")
    @classmethod
    def _one_of_each(cls, value: tuple[EmbeddingEndpoint, ...]) -> tuple[EmbeddingEndpoint, ...]:
        spaces = [(one.name, one.model, one.dimensions, one.version) for one in value]
        if len(set(spaces)) < len(spaces):
            raise ValueError("two endpoints have the same name, model, dimensions and version")
        return value


class ApiSettings(BaseModel):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    root_path: str = ""
    trusted_proxies: str = ""
    live_streams: Count = 200
    live_streams_per_workspace: Count = 50
    live_heartbeat: Duration = timedelta(seconds=15)

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        for network in filter(None, value.split(",")):
            ip_network(network.strip())
        return value


class ParsingSettings(BaseModel):
    """Bounds of one child process that parses and embeds."""

    processes: Count = 1
    timeout: Duration = timedelta(seconds=60)
    memory: Bytes = 2048 * MIB


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class OutboundSettings(BaseModel):
    """What tenants may have fetched: public addresses, and those of the `allowed` networks. `timeout` is of one
    document, redirects included."""

    allowed: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_split), NoDecode] = ()
    timeout: Duration = timedelta(seconds=30)


class EmailSettings(BaseModel):
    """The operator's mail server, by which notifications are sent; without `host` none is. `timeout` is one message's.

    `security` is how the connection is kept private: `starttls` and `tls` verify the server, by `ca_file` where its
    certificate is of an authority of your own; `none` is for this machine alone.
    """

    host: Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9.:_-]+$")] | None = None
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: Annotated[str, Field(min_length=1, max_length=320)] | None = None
    password: SecretStr | None = None
    from_address: (
        Annotated[str, Field(max_length=254, pattern=r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9.-]+$")] | None
    ) = None
    ca_file: FilePath | None = None
    timeout: Duration = timedelta(seconds=30)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.host is None:
            given = next((name for name in ("username", "password", "from_address") if getattr(self, name)), None)
            if given is not None:
                raise ValueError(f"DATALANE_EMAIL__{given.upper()} needs DATALANE_EMAIL__HOST beside it")
            return self
        if self.from_address is None:
            raise ValueError("DATALANE_EMAIL__HOST needs DATALANE_EMAIL__FROM_ADDRESS beside it")
        if (self.username is None) != (self.password is None):
            raise ValueError("DATALANE_EMAIL__USERNAME and DATALANE_EMAIL__PASSWORD go together")
        if self.security == "none" and not is_loopback(f"//[{self.host}]" if ":" in self.host else f"//{self.host}"):
            raise ValueError(
                "DATALANE_EMAIL__SECURITY must be starttls or tls, unless the mail server is on this machine"
            )
        return self

    @property
    def is_on(self) -> bool:
        return self.host is not None


MOST_WAITING = timedelta(days=5)
"""Of one delivery, from its first attempt to its last: what waits for longer loses its job."""


@dataclass(frozen=True, slots=True)
class Pauses:
    """How long to wait after the first failed attempt, after the second, and so on; after the last there is none.
    Written in seconds, `5,300,1800`."""

    each: tuple[timedelta, ...]

    @classmethod
    def read(cls, text: str) -> Pauses:
        pauses = cls(tuple(timedelta(seconds=float(part)) for part in text.split(",")))
        if min(pauses.each) <= timedelta() or sum(pauses.each, timedelta()) > MOST_WAITING:
            raise ValueError
        return pauses

    def __str__(self) -> str:
        return ",".join(f"{pause.total_seconds():g}" for pause in self.each)


def _pauses(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return Pauses.read(value)
    except (ValueError, OverflowError):
        raise ValueError("must be seconds with commas between them, such as 5,300,1800, five days at most") from None


class WebhookSettings(BaseModel):
    """Outbound webhooks. A delivery is tried at once, and again after each of the `pauses`, drawn from within `jitter`
    of them (0.2 is a fifth either way). `timeout` is of one attempt. An endpoint is disabled after `disable_after` of
    nothing but failures. An old secret goes on signing for `rotation`. Recovery releases `recovery_rate` deliveries a
    second."""

    pauses: Annotated[Pauses, BeforeValidator(_pauses), NoDecode] = Pauses.read("5,300,1800,7200,18000,36000,36000")
    jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    timeout: Annotated[Duration, Field(le=timedelta(seconds=30))] = timedelta(seconds=15)
    disable_after: Duration = timedelta(days=5)
    rotation: Duration = timedelta(hours=24)
    recovery_rate: Count = 100


class InboundSettings(BaseModel):
    """`tolerance` is how far a signed moment may lie from now. The same signed bytes that come again within `suspicion`
    are held, where their sender signs neither id nor moment."""

    tolerance: Duration = timedelta(minutes=5)
    suspicion: Duration = timedelta(hours=1)


class SearchSettings(BaseModel):
    """A workspace of `exact_chunks` chunks gets an index of its own for each model that it searches by, while the lane
    has fewer than `own_indexes`. `build_memory` is what the server may take while it builds one; an index that
    does not fit is built much more slowly."""

    exact_chunks: Count = 10_000
    own_indexes: Count = 100
    build_memory: Annotated[int, Field(ge=MIB)] = 512 * MIB


class AutomationSettings(BaseModel):
    """Bounds of the child processes that evaluate expressions of rules; `condition_time` is processor time of one."""

    processes: Count = 1
    condition_time: Duration = timedelta(milliseconds=50)
    memory: Annotated[int, Field(ge=128 * MIB)] = 256 * MIB


class TelemetrySettings(BaseModel):
    """`metrics_port` is for a worker or a maintenance process that runs on its own; the API has the route."""

    traces: Literal["pass_on", "record"] = "pass_on"
    metrics_token: SecretStr | None = None
    metrics_port: Annotated[int, Field(ge=0, le=65_535)] | None = None

    @model_validator(mode="after")
    def _not_open_to_the_world(self) -> Self:
        if self.metrics_port is not None and self.metrics_token is None:
            raise ValueError(
                "DATALANE_TELEMETRY__METRICS_PORT needs DATALANE_TELEMETRY__METRICS_TOKEN beside it; "
                f"make one with `{HOW_TO_MAKE}`"
            )
        return self


class Settings(BaseSettings):
    """All settings. `DATALANE_LIMITS__UPLOAD=1000` sets `limits.upload`."""

    model_config = SettingsConfigDict(env_prefix="DATALANE_", env_nested_delimiter="__", extra="ignore")

    home: Path = Path(".datalane")
    database_url: SecretStr | None = None
    maintenance_url: SecretStr | None = None
    operator_url: SecretStr | None = None
    role_prefix: str = "datalane"
    pool_size: Annotated[int, Field(ge=1, le=200)] = 10
    statement_cache_size: Annotated[int, Field(ge=0)] = 256
    files_url: str | None = None
    cursor_key: SecretStr | None = None
    master_key: SecretStr | None = None
    master_keys_before: Annotated[tuple[SecretStr, ...], BeforeValidator(_split), NoDecode] = ()
    start_patience: Duration = timedelta(seconds=30)
    log_level: str = "INFO"
    limits: Limits = Limits()
    jobs: JobSettings = JobSettings()
    retention: Retention = Retention()
    sessions: SessionSettings = SessionSettings()
    identity: IdentitySettings = IdentitySettings()
    oidc: OidcSettings = OidcSettings()
    attempts: AttemptSettings = AttemptSettings()
    invites: InviteSettings = InviteSettings()
    api: ApiSettings = ApiSettings()
    parsing: ParsingSettings = ParsingSettings()
    embeddings: EmbeddingSettings = EmbeddingSettings()
    outbound: OutboundSettings = OutboundSettings()
    email: EmailSettings = EmailSettings()
    webhooks: WebhookSettings = WebhookSettings()
    inbound: InboundSettings = InboundSettings()
    search: SearchSettings = SearchSettings()
    automation: AutomationSettings = AutomationSettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        if value.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
            raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
        return value.upper()

    @field_validator("database_url", "maintenance_url", "operator_url")
    @classmethod
    def _postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql://")
        return value

    @property
    def embedded(self) -> bool:
        """Whether the lane brings its own Postgres."""
        return self.database_url is None

    @cached_property
    def files(self) -> str:
        """The object store of originals as a URL; the home folder by default."""
        return self.files_url or (self.home.resolve() / "files").as_uri()


@dataclass(frozen=True, slots=True)
class Examined:
    """What the environment says: the settings, unless a value is wrong, and what is wrong with its variables."""

    settings: Settings | None
    faults: tuple[Fault, ...]
    weak_secrets: tuple[Fault, ...]


def examine_settings() -> Examined:
    """Everything that is wrong with the variables of the environment, all at once."""
    faults, settings = list(find_unknown(os.environ, Settings)), None
    try:
        settings = Settings()
    except ValidationError as error:
        known = variables_of(Settings)
        for each in error.errors():
            variable = _variable(each["loc"])
            faults.append(Fault(variable, each["msg"], _CORRECT if variable in known else _COMPLETE))
    except SettingsError:
        pass  # the value of a whole group cannot be read; that a group is no setting is said above
    return Examined(settings, tuple(faults), tuple(find_weak(os.environ)))


def load_settings(*, serving: bool = False) -> Settings:
    """The settings from the environment. A process that serves needs good secrets as well.

    Raises `ConfigurationError` naming each wrong or unknown variable, and each weak secret when `serving`.
    """
    found = examine_settings()
    faults = [*found.faults, *(found.weak_secrets if serving else ())]
    if found.settings is None or faults:
        raise ConfigurationError("wrong settings:\n  " + "\n  ".join(str(fault) for fault in faults))
    return found.settings


def _variable(location: tuple[int | str, ...]) -> str:
    return PREFIX + "__".join(str(part) for part in location).upper()

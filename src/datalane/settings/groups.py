"""The groups of settings. `DATALANE_LIMITS__UPLOAD` is `upload` of `Limits`."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from datalane.errors import InvalidInput
from datalane.kit.detection import Detector
from datalane.kit.net import is_loopback
from datalane.kit.secrets import HOW_TO_MAKE
from datalane.settings.values import (
    KIB,
    MIB,
    Attempts,
    Bytes,
    Count,
    Duration,
    LongDuration,
    Pauses,
    PausesInSeconds,
    Rate,
    listed,
    split,
)


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
    artifact: Bytes = 1 * MIB
    spans: Bytes = 16 * MIB
    condition: Bytes = 4 * KIB
    rules: Count = 100
    tools: Count = 500
    tool_rules: Count = 100
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
    deliveries: Duration = timedelta(days=90)
    connector_history: Duration = timedelta(days=365)
    agent_artifacts: Duration = timedelta(days=90)
    agent_runs: Duration = timedelta(days=400)
    agent_effects: Duration = timedelta(days=400)
    usage: LongDuration = timedelta(days=400)
    analytics: LongDuration = timedelta(days=400)
    orphaned_originals: LongDuration = timedelta(days=1)


class SessionSettings(BaseModel):
    session: Duration = timedelta(hours=1)
    refresh: Duration = timedelta(days=30)
    minimum_password_characters: Count = 10


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


class OidcSettings(BaseModel):
    issuers: Annotated[tuple[Issuer, ...], BeforeValidator(listed), NoDecode] = ()


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
    endpoints: Annotated[tuple[EmbeddingEndpoint, ...], BeforeValidator(listed), NoDecode] = ()

    @field_validator("endpoints")
    @classmethod
    def _one_of_each(cls, value: tuple[EmbeddingEndpoint, ...]) -> tuple[EmbeddingEndpoint, ...]:
        spaces = [(one.name, one.model, one.dimensions, one.version) for one in value]
        if len(set(spaces)) < len(spaces):
            raise ValueError("two endpoints have the same name, model, dimensions and version")
        return value


class AssistantSettings(BaseModel):
    """A model that leads the assistant, behind an endpoint that speaks OpenAI's protocol; without `base_url`, which is
    what stands before `/chat/completions`, the assistant needs none. `timeout` is of one answer, which has at most
    `answer_tokens`. `provider`, `model` and `revision` name the version that its prices are of."""

    base_url: str | None = None
    api_key: SecretStr | None = None
    model: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    provider: Annotated[str, Field(min_length=1, max_length=100)] = "openai"
    revision: Annotated[str, Field(max_length=100)] = ""
    answer_tokens: Annotated[int, Field(ge=16, le=100_000)] = 1_000
    timeout: Annotated[Duration, Field(le=timedelta(minutes=2))] = timedelta(seconds=60)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.base_url is None:
            if self.api_key is not None or self.model is not None:
                raise ValueError("DATALANE_ASSISTANT__BASE_URL is missing beside the model or its key")
            return self
        if self.model is None:
            raise ValueError("DATALANE_ASSISTANT__BASE_URL needs DATALANE_ASSISTANT__MODEL beside it")
        scheme = urlsplit(self.base_url).scheme
        if scheme not in {"https", "http"}:
            raise ValueError("DATALANE_ASSISTANT__BASE_URL must begin with https:// or http://")
        if self.api_key is not None and scheme == "http" and not is_loopback(self.base_url):
            raise ValueError(
                "DATALANE_ASSISTANT__BASE_URL must begin with https:// where a key is sent, or be on this machine"
            )
        return self

    @property
    def is_on(self) -> bool:
        return self.base_url is not None


MemberName = Annotated[str, Field(pattern=r"^[^\W\d_][\w. -]{0,99}$")]


class RedactionSettings(BaseModel):
    """What is masked in contents of agents before they are stored, beside credentials: values of members with these
    `names`, and what is `detect`ed by its shape."""

    names: Annotated[tuple[MemberName, ...], Field(max_length=100), BeforeValidator(split), NoDecode] = ()
    detect: Annotated[tuple[Detector, ...], BeforeValidator(split), NoDecode] = ()


class AgentSettings(BaseModel):
    """`moderator` names the object, as `module:attribute`, that judges what agents are given and answer.
    `moderation_timeout` is of one judgement."""

    moderator: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$", max_length=200)] | None = None
    moderation_timeout: Annotated[Duration, Field(le=timedelta(minutes=1))] = timedelta(seconds=5)
    redaction: RedactionSettings = RedactionSettings()


class UsageSettings(BaseModel):
    """`request_quota` is the quota of which each request over HTTP is a use; without one requests are not counted."""

    request_quota: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")] | None = None


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


class OutboundSettings(BaseModel):
    """What tenants may have fetched: public addresses, and those of the `allowed` networks. `timeout` is of one
    document, redirects included."""

    allowed: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(split), NoDecode] = ()
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


class WebhookSettings(BaseModel):
    """Outbound webhooks. A delivery is tried at once, and again after each of the `pauses`, drawn from within `jitter`
    of them (0.2 is a fifth either way). `timeout` is of one attempt; of its answer `response_excerpt` is kept. An
    endpoint is disabled after `disable_after` of nothing but failures. An old secret goes on signing for `rotation`.
    Recovery releases `recovery_rate` deliveries a second."""

    pauses: PausesInSeconds = Pauses.read("5,300,1800,7200,18000,36000,36000")
    jitter: Annotated[float, Field(ge=0, le=0.5)] = 0.2
    timeout: Annotated[Duration, Field(le=timedelta(seconds=30))] = timedelta(seconds=15)
    response_excerpt: Annotated[Bytes, Field(le=2 * KIB)] = 2 * KIB
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


class AccessSource(BaseModel):
    """Who may tell of the demo access of workspaces, by signals that one of its `keys` has signed: a secret
    (`whsec_…`) that only the source has too, or its public key (`whpk_…`)."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    keys: Annotated[tuple[SecretStr, ...], Field(min_length=1, max_length=3)]

    @field_validator("name")
    @classmethod
    def _is_not_the_operator(cls, value: str) -> str:
        if value == "operator":
            raise ValueError("operator is the name of the operator's own signals")
        return value

    @field_validator("keys")
    @classmethod
    def _are_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        from datalane.kit.standard_webhooks import read_verifier  # not every process needs its library

        for key in value:
            try:
                read_verifier(key.get_secret_value())
            except InvalidInput as error:
                raise ValueError(f"each key is a secret, whsec_…, or a public key, whpk_…: {error}") from None
        return value


class AnalyticsSettings(BaseModel):
    """A client near a change of its plan may honestly see the other one: within `snapshot_tolerance` of it there is no
    anomaly. Events that are older than `oldest`, ten years at most, are held back. A query ends after `query_time`."""

    snapshot_tolerance: Annotated[Duration, Field(le=timedelta(days=1))] = timedelta(minutes=5)
    oldest: Annotated[Duration, Field(le=timedelta(days=3_650))] = timedelta(days=400)
    query_time: Annotated[Duration, Field(le=timedelta(minutes=10))] = timedelta(seconds=30)


class AccessSettings(BaseModel):
    """Nobody is trusted by default: then the operator alone tells of access."""

    sources: Annotated[tuple[AccessSource, ...], BeforeValidator(listed), NoDecode] = ()
    analytics: AnalyticsSettings = AnalyticsSettings()

    @field_validator("sources")
    @classmethod
    def _one_of_each(cls, value: tuple[AccessSource, ...]) -> tuple[AccessSource, ...]:
        if len({source.name for source in value}) < len(value):
            raise ValueError("two sources have the same name")
        return value


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

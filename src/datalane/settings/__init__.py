"""Settings: small groups of validated values, read from `DATALANE_*` variables once, at start.

Times are timedeltas, sizes are bytes, secrets are masked when printed. A wrong value stops the program with the
variable's name and what would be right (`load_settings`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError

from datalane.credentials import find_weak
from datalane.environment import PREFIX, Fault, find_unknown, variables_of
from datalane.errors import ConfigurationError
from datalane.settings.groups import (
    AccessSettings,
    AccessSource,
    AgentSettings,
    AnalyticsSettings,
    ApiSettings,
    AssistantSettings,
    AttemptSettings,
    AutomationSettings,
    EmailSettings,
    EmbeddingEndpoint,
    EmbeddingSettings,
    IdentitySettings,
    InboundSettings,
    InviteSettings,
    Issuer,
    JobSettings,
    Limits,
    OidcSettings,
    OutboundSettings,
    ParsingSettings,
    RedactionSettings,
    Retention,
    SearchSettings,
    SessionSettings,
    SignUp,
    TelemetrySettings,
    UsageSettings,
    WebhookSettings,
)
from datalane.settings.values import Duration, Pauses, Rate, split

__all__ = [
    "AccessSettings",
    "AccessSource",
    "AgentSettings",
    "AnalyticsSettings",
    "ApiSettings",
    "AssistantSettings",
    "AttemptSettings",
    "AutomationSettings",
    "EmailSettings",
    "EmbeddingEndpoint",
    "EmbeddingSettings",
    "Examined",
    "IdentitySettings",
    "InboundSettings",
    "InviteSettings",
    "Issuer",
    "JobSettings",
    "Limits",
    "OidcSettings",
    "OutboundSettings",
    "ParsingSettings",
    "Pauses",
    "Rate",
    "RedactionSettings",
    "Retention",
    "SearchSettings",
    "SessionSettings",
    "Settings",
    "SignUp",
    "TelemetrySettings",
    "UsageSettings",
    "WebhookSettings",
    "examine_settings",
    "load_settings",
]


class Disagreement(ValueError):
    """Two settings do not go together; `mend` says what to do about `variable`."""

    def __init__(self, variable: str, message: str, mend: str) -> None:
        super().__init__(message)
        self.variable, self.mend = variable, mend


_CORRECT = "correct its value, or leave it out for the default"
_COMPLETE = "set what is missing, or leave out what needs it"


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
    master_keys_before: Annotated[tuple[SecretStr, ...], BeforeValidator(split), NoDecode] = ()
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
    agents: AgentSettings = AgentSettings()
    assistant: AssistantSettings = AssistantSettings()
    outbound: OutboundSettings = OutboundSettings()
    email: EmailSettings = EmailSettings()
    webhooks: WebhookSettings = WebhookSettings()
    inbound: InboundSettings = InboundSettings()
    search: SearchSettings = SearchSettings()
    automation: AutomationSettings = AutomationSettings()
    access: Annotated[AccessSettings, Field(validate_default=True)] = AccessSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    usage: UsageSettings = UsageSettings()

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

    @field_validator("access")
    @classmethod
    def _forgotten_when_it_is_too_old(cls, value: AccessSettings, info: ValidationInfo) -> AccessSettings:
        kept, oldest = info.data.get("retention"), value.analytics.oldest  # without one where it is wrong itself
        if isinstance(kept, Retention) and kept.analytics < oldest:
            raise Disagreement(
                "DATALANE_RETENTION__ANALYTICS",
                f"is {_iso(kept.analytics)}, less than DATALANE_ACCESS__ANALYTICS__OLDEST, {_iso(oldest)}: an event "
                "that is forgotten while it is still taken would count anew when it is sent again",
                f"raise it to {_iso(oldest)}, or lower DATALANE_ACCESS__ANALYTICS__OLDEST",
            )
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
            cause, variable = each.get("ctx", {}).get("error"), _variable(each["loc"])
            if isinstance(cause, Disagreement):
                faults.append(Fault(cause.variable, str(cause), cause.mend))
            else:
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


def _iso(value: timedelta) -> str:
    return str(TypeAdapter(timedelta).dump_python(value, mode="json"))

"""Settings: small groups of validated values, read from `DATALANE_*` variables once, at start.

Times are timedeltas, sizes are bytes, secrets are masked when printed. A wrong value stops the program with the
variable's name and what would be right (`load_settings`).
"""

from __future__ import annotations

from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from datalane.errors import ConfigurationError

KIB = 1024
MIB = 1024 * KIB

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
    query_characters: Count = 8_000
    page_size: Count = 100
    batch: Count = 1_000
    chunks_per_document: Count = 50_000
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
    orphaned_originals: LongDuration = timedelta(days=1)


class SessionSettings(BaseModel):
    session: Duration = timedelta(hours=1)
    refresh: Duration = timedelta(days=30)
    minimum_password_characters: Count = 10


class ApiSettings(BaseModel):
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8080
    root_path: str = ""


class ParsingSettings(BaseModel):
    """Bounds of one child process that parses and embeds."""

    processes: Count = 1
    timeout: Duration = timedelta(seconds=60)
    memory: Bytes = 2048 * MIB


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
    start_patience: Duration = timedelta(seconds=30)
    log_level: str = "INFO"
    limits: Limits = Limits()
    jobs: JobSettings = JobSettings()
    retention: Retention = Retention()
    sessions: SessionSettings = SessionSettings()
    api: ApiSettings = ApiSettings()
    parsing: ParsingSettings = ParsingSettings()

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


def load_settings() -> Settings:
    """The settings from the environment. Raises `ConfigurationError` naming each wrong variable."""
    try:
        return Settings()
    except ValidationError as error:
        faults = [f"DATALANE_{'__'.join(str(p) for p in e['loc']).upper()}: {e['msg']}" for e in error.errors()]
        raise ConfigurationError("wrong settings:\n  " + "\n  ".join(faults)) from None

"""The database roles. No role has BYPASSRLS.

Roles are cluster-wide, so their names take a prefix: two lanes can share one cluster. SQL sources are written with
the prefix `datalane`; `Roles.render` puts the configured one in its place.

| role           | may                                                                              |
|----------------|----------------------------------------------------------------------------------|
| `_owner`       | own tables and schemas; cannot log in                                            |
| `_login`       | log in (its name is the bare prefix), step into the three below; owns nothing    |
| `_app`         | touch one workspace's rows, through policies                                     |
| `_worker`      | call the claim verbs; sees no table                                              |
| `_signin`      | call the verbs before it is known who asks; sees no table                        |
| `_definer`     | own the SECURITY DEFINER verbs; cannot log in                                    |
| `_operator`    | log in, read operational columns across workspaces, no payloads                  |
| `_backup`      | read everything through explicit policies                                        |
| `_maintenance` | log in, step into owner and definer: migrations, partitions, retention           |
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from datalane.errors import ConfigurationError

_NAME = re.compile(r"\bdatalane_(owner|login|app|worker|signin|definer|operator|backup|maintenance)\b")
_PREFIX = re.compile(r"[a-z][a-z0-9_]{0,30}")


@dataclass(frozen=True, slots=True)
class Roles:
    prefix: str = "datalane"

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix):
            raise ConfigurationError(
                f"role prefix {self.prefix!r} is not usable; take 1 to 31 of a-z 0-9 _, beginning with a letter"
            )

    @property
    def login(self) -> str:
        return self.prefix

    @property
    def owner(self) -> str:
        return f"{self.prefix}_owner"

    @property
    def app(self) -> str:
        return f"{self.prefix}_app"

    @property
    def worker(self) -> str:
        return f"{self.prefix}_worker"

    @property
    def signin(self) -> str:
        return f"{self.prefix}_signin"

    @property
    def definer(self) -> str:
        return f"{self.prefix}_definer"

    @property
    def operator(self) -> str:
        return f"{self.prefix}_operator"

    @property
    def backup(self) -> str:
        return f"{self.prefix}_backup"

    @property
    def maintenance(self) -> str:
        return f"{self.prefix}_maintenance"

    @property
    def doors(self) -> tuple[str, ...]:
        """The roles that the login steps into."""
        return (self.app, self.worker, self.signin)

    @property
    def logins(self) -> tuple[str, ...]:
        return (self.login, self.operator, self.maintenance)

    @property
    def all(self) -> tuple[str, ...]:
        return (
            self.owner,
            self.login,
            *self.doors,
            self.definer,
            self.operator,
            self.backup,
            self.maintenance,
        )

    def render(self, sql: str) -> str:
        """`sql` with every `datalane_<role>` named as in this cluster."""
        return _NAME.sub(lambda match: str(getattr(self, match[1])), sql)

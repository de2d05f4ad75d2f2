"""The passwords and addresses of a prepared database, as values."""

from __future__ import annotations

import secrets
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Access:
    """Passwords of the three roles that log in."""

    login: str
    operator: str
    maintenance: str

    @classmethod
    def generate(cls) -> Access:
        return cls(*(secrets.token_urlsafe(24) for _ in range(3)))


@dataclass(frozen=True, slots=True)
class Prepared:
    """The settings of a prepared database."""

    database_url: str
    maintenance_url: str
    operator_url: str

    def as_environment(self) -> dict[str, str]:
        return {
            "DATALANE_DATABASE_URL": self.database_url,
            "DATALANE_MAINTENANCE_URL": self.maintenance_url,
            "DATALANE_OPERATOR_URL": self.operator_url,
        }

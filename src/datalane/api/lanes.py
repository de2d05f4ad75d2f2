"""What the HTTP face needs of a lane."""

from __future__ import annotations

from typing import Protocol

from datalane.db.database import Database
from datalane.settings import Settings


class OpenLane(Protocol):
    """An open `Lane`, or anything with its database and settings."""

    @property
    def settings(self) -> Settings: ...

    @property
    def database(self) -> Database: ...

"""What access needs while the process runs: the sources whose signals are trusted."""

from __future__ import annotations

from dataclasses import dataclass

from datalane.access.lifecycle import handlers as lifecycle_handlers
from datalane.access.lifecycle.signing import SignedSignals
from datalane.db.database import Database
from datalane.engine.handlers import Handlers
from datalane.settings import Settings


@dataclass(frozen=True, slots=True)
class AccessRuntime:
    signals: SignedSignals

    def register(self, handlers: Handlers, database: Database) -> None:
        """Add the handlers of the jobs of access."""
        lifecycle_handlers.register(handlers, self.signals)


def make_access(settings: Settings) -> AccessRuntime:
    """It starts nothing."""
    return AccessRuntime(SignedSignals(settings.access.sources))

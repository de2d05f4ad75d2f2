"""The job that takes up a queued run of the assistant."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from datalane.agents.assistant.service import Assistant
from datalane.agents.runs.queueing import ASSISTANT_JOB
from datalane.db.database import Database
from datalane.engine.handlers import Handler, Handlers, Job, Mode
from datalane.errors import Conflict, DatabaseUnavailable, IllegalTransition, NotFound
from datalane.kit.logs import get_logger

TIMEOUT = timedelta(minutes=15)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class TakingUp:
    """It runs at least once: a run that is over is left alone, one that another process holds is asked for again."""

    database: Database
    assistant: Assistant

    def register(self, handlers: Handlers) -> None:
        handlers.add(Handler(ASSISTANT_JOB, Mode.EXTERNAL, self.take, timeout=TIMEOUT))

    async def take(self, job: Job) -> None:
        """Raises `Conflict` for a run that is held, and `LeaseLost` for one that was lost meanwhile."""
        run_id = UUID(job.args["run_id"])
        try:
            await self.assistant.take(self.database.transaction, job.context, run_id)
        except (IllegalTransition, NotFound):
            return
        except (Conflict, DatabaseUnavailable):
            raise
        except Exception as error:  # how the run ended stands in the ledger, and another attempt is no part of it
            log.warning("assistant_run_failed", run_id=str(run_id), error=f"{type(error).__name__}: {error}"[:500])

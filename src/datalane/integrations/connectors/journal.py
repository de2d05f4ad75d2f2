"""What is written beside every change of a connector: its history, the audit record, the event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.engine.events import publish
from datalane.integrations.connectors.dependents import Paused
from datalane.integrations.connectors.schemas import Connector, PausedDependents
from datalane.kit.ids import uuid7

MOST_TOLD = 100
"""Ids of one kind of things that stopped; their number is told whole."""

_queries = load_queries(__file__)


async def note(
    tx: Transaction,
    connector_id: UUID,
    what: str,
    now: datetime,
    *,
    outcome: str | None = None,
    outcome_of: str | None = None,
    observed_at: datetime | None = None,
    counted: bool = True,
    detail: str | None = None,
) -> None:
    """One line of the history, with the state that the connector is in now."""
    await _queries.add_history(
        tx.connection,
        workspace_id=tx.workspace_id,
        history_id=uuid7(),
        connector_id=connector_id,
        what=what,
        outcome=outcome,
        outcome_of=outcome_of,
        observed_at=observed_at,
        counted=counted,
        detail=detail,
        now=now,
        actor_id=tx.context.actor_id,
        correlation_id=tx.context.correlation_id,
    )


async def audit(tx: Transaction, what: str, before: Connector | None, after: Connector, **said: Any) -> None:
    """Who did it, and between which states."""
    await record(
        tx,
        f"connector.{what}",
        "connector",
        after.connector_id,
        before=None if before is None else _standing(before),
        after={**_standing(after), **said},
    )


async def tell(tx: Transaction, happened: str, connector: Connector, now: datetime, **said: Any) -> None:
    """The event `integration.…`."""
    payload = {"connector_id": str(connector.connector_id), "kind": connector.kind, **said}
    await publish(tx, f"integration.{happened}", payload, subject_id=str(connector.connector_id), occurred_at=now)


def told(paused: Sequence[Paused]) -> list[PausedDependents]:
    return [PausedDependents(kind=one.kind, count=len(one.ids), ids=list(one.ids[:MOST_TOLD])) for one in paused]


def _standing(connector: Connector) -> Mapping[str, Any]:
    """What the audit log keeps. The version is called so there because names of secrets are masked."""
    return {
        "name": connector.name,
        "kind": connector.kind,
        "status": connector.status,
        "version": connector.credential_version,
    }

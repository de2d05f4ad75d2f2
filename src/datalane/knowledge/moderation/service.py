"""Suppressing a citation and restoring it. The citation stays as it was stored; what was decided stands beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from prometheus_client import Counter

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine import audit
from datalane.errors import Conflict, NotFound
from datalane.kit.clock import utc_now
from datalane.kit.ids import uuid7
from datalane.knowledge.moderation.schemas import (
    Moderation,
    ModerationList,
    NewRestoration,
    NewSuppression,
    Outcome,
)
from datalane.knowledge.permissions import MODERATE_CITATIONS, READ_CITATIONS

MODERATED = Counter(
    "datalane_citations_moderated_total", "Citations that were suppressed or restored, by outcome", ["outcome"]
)

_queries = load_queries(__file__)


async def suppress(tx: Transaction, new: NewSuppression, now: datetime | None = None) -> Moderation:
    """Its quote is shown no more, and it is no evidence of its segment. Raises `NotFound`, and `Conflict` where it is
    suppressed."""
    return await _decide(tx, Outcome.SUPPRESSED, new.category, new, now)


async def restore(tx: Transaction, new: NewRestoration, now: datetime | None = None) -> Moderation:
    """It is shown again. Raises `NotFound`, and `Conflict` where it is not suppressed."""
    return await _decide(tx, Outcome.RESTORED, None, new, now)


async def list_moderations(tx: Transaction, cursor: str | None = None, page_size: int = 25) -> ModerationList:
    """What was decided, the newest first. Raises `InvalidInput` for a cursor that is not this list's."""
    READ_CITATIONS.check(tx.context)
    before = tx.read_id_cursor("moderations", cursor)
    rows = await _queries.list_moderations(
        tx.connection, workspace_id=tx.workspace_id, before=before, page_size=page_size + 1
    )
    page, following = tx.cut_page("moderations", rows, page_size, lambda row: [row["moderation_id"]])
    return ModerationList(data=[Moderation(**row) for row in page], page_size=page_size, next_cursor=following)


async def moderations_of(tx: Transaction, citation_ids: Sequence[UUID]) -> Mapping[UUID, Moderation]:
    """What was decided last about each citation, where anything was."""
    rows = await _queries.last_moderations(tx.connection, workspace_id=tx.workspace_id, citation_ids=citation_ids)
    return {row["citation_id"]: Moderation(**row) for row in rows}


async def standing_citations(tx: Transaction, citation_ids: Sequence[UUID]) -> set[UUID]:
    """Those that are citations of the workspace and are not suppressed."""
    READ_CITATIONS.check(tx.context)
    rows = await _queries.find_standing(tx.connection, workspace_id=tx.workspace_id, citation_ids=citation_ids)
    return {row["citation_id"] for row in rows}


async def lock_citations(tx: Transaction, citation_ids: Sequence[UUID]) -> None:
    """Nobody else decides about them until the end of the transaction. They are taken in one order, so that two who
    want several of them wait for each other and do not stop each other."""
    for citation_id in sorted(set(citation_ids)):
        await _queries.lock_decisions(tx.connection, workspace_id=tx.workspace_id, citation_id=citation_id)


async def _decide(
    tx: Transaction, outcome: Outcome, category: str | None, new: NewSuppression | NewRestoration, now: datetime | None
) -> Moderation:
    MODERATE_CITATIONS.check(tx.context)
    tx = tx.following()
    await _queries.lock_decisions(tx.connection, workspace_id=tx.workspace_id, citation_id=new.citation_id)
    there = await _queries.get_decided(tx.connection, workspace_id=tx.workspace_id, citation_id=new.citation_id)
    if there is None:
        raise NotFound("no such citation")
    if (there["outcome"] or Outcome.RESTORED) == outcome:
        raise Conflict(f"the citation is {'' if outcome is Outcome.SUPPRESSED else 'not '}suppressed")
    made = Moderation(
        moderation_id=uuid7(),
        outcome=outcome,
        category=category,
        **new.model_dump(exclude={"category"}),
        created_at=now or utc_now(),
        actor_id=tx.context.actor_id,
        correlation_id=tx.context.correlation_id,
    )
    await _queries.add_moderation(
        tx.connection,
        workspace_id=tx.workspace_id,
        **made.model_dump(exclude={"outcome", "created_at"}),
        ordinal=(there["ordinal"] or 0) + 1,
        outcome=outcome.value,
        now=made.created_at,
    )
    await audit.record(tx, f"citation.{outcome}", "citation", new.citation_id, after=made.model_dump(mode="json"))
    tx.after_commit(lambda: MODERATED.labels(outcome.value).inc())
    return made

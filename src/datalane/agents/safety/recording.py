"""Writing what moderation decided, in the transaction of what it is about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from datalane.agents.permissions import RECORD_RUNS
from datalane.agents.runs.schemas import HeldRun
from datalane.agents.safety.judging import Judged
from datalane.agents.safety.metrics import count_moderation
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.suppression import Suppressor
from datalane.kit.logs import get_logger

_queries = load_queries(__file__)
log = get_logger(__name__)


async def record_moderation(
    tx: Transaction,
    run: HeldRun,
    judged: Judged,
    citations: Suppressor | None = None,
    tool_call_id: UUID | None = None,
    now: datetime | None = None,
) -> UUID:
    """Record it, while the run is held. Citations that it names are suppressed with its id as their reference; an id
    that is none of this workspace's citations is left out. Raises `LeaseLost`, `NotFound`.

    Where it names citations, `tx` is that of `judged.recording(context)`.
    """
    RECORD_RUNS.check(tx.context)
    known = list[UUID]()
    if judged.citation_ids and citations is not None:
        known = await citations.known(tx, judged.citation_ids)
        if len(known) < len(judged.citation_ids):
            left_out = len(judged.citation_ids) - len(known)
            log.warning("agent_moderation_names_no_citation", run_id=str(run.run_id), left_out=left_out)
    reason = None if judged.reason is None else tx.redaction.text(judged.reason)[:500]
    moderation_id: UUID = await _queries.record_moderation(
        tx.connection,
        run_id=run.run_id,
        lease_token=run.lease_token,
        subject=judged.subject,
        outcome=judged.outcome,
        judged_by=judged.judged_by,
        category=judged.category,
        reason=reason,
        citation_ids=known,
        tool_call_id=tool_call_id,
        now=now,
    )
    if known and citations is not None:
        await citations.suppress(tx, known, judged.category or judged.outcome, reason, str(moderation_id))
    count_moderation(tx, judged.subject, judged.outcome)
    return moderation_id


async def record_span_refusals(tx: Transaction, refusals: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Refusals that spans tell, by their traces, which were taken in this transaction."""
    RECORD_RUNS.check(tx.context)
    if not refusals:
        return
    fresh: int = await _queries.record_span_refusals(
        tx.connection, traces=list(refusals), refusals=[orjson.dumps(each).decode() for each in refusals.values()]
    )
    count_moderation(tx, "output", "refused", fresh)

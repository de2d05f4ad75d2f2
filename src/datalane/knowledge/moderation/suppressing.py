"""What moderation of agents takes out of sight (`datalane.engine.suppression`)."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.knowledge.moderation.schemas import NewSuppression, Outcome
from datalane.knowledge.moderation.service import lock_citations, moderations_of, suppress

_queries = load_queries(__file__)


class CitationSuppressor:
    async def known(self, tx: Transaction, citation_ids: Sequence[UUID]) -> list[UUID]:
        found = await _queries.known_citations(
            tx.connection, workspace_id=tx.workspace_id, citation_ids=list(citation_ids)
        )
        known = {row["citation_id"] for row in found}
        return [each for each in dict.fromkeys(citation_ids) if each in known]

    async def suppress(
        self, tx: Transaction, citation_ids: Sequence[UUID], category: str, reason: str | None, reference: str
    ) -> None:
        await lock_citations(tx, citation_ids)
        decided = await moderations_of(tx, citation_ids)
        for citation_id in citation_ids:
            last = decided.get(citation_id)
            if last is None or last.outcome is not Outcome.SUPPRESSED:
                new = NewSuppression(citation_id=citation_id, category=category, reason=reason, reference=reference)
                await suppress(tx, new)

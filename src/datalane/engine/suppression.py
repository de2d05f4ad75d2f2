"""Taking citations out of sight when an answer was moderated: one domain judges answers, another holds citations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from datalane.db.transaction import Transaction


class Suppressor(Protocol):
    """Suppresses citations of the workspace of a transaction, which is to be that of an admin or of the lane itself."""

    async def known(self, tx: Transaction, citation_ids: Sequence[UUID]) -> list[UUID]:
        """Those that are citations of this workspace, in their order, each once."""
        ...

    async def suppress(
        self, tx: Transaction, citation_ids: Sequence[UUID], category: str, reason: str | None, reference: str
    ) -> None:
        """Show their quotes no more; those that are suppressed already stay as they were decided."""
        ...

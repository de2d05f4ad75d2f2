"""Verifying the audit log of a workspace: every hash is computed again, outside the database.

A seal is checked for itself, against the seal before, and against a head that was kept elsewhere; its rows are checked
against its manifest; the rows between two places against the seal that covers them; details against the digest in
their row. Rows after the newest seal are not covered yet: only their details are checked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit_chain import BEGINNING, END, NO_SEAL, Place, Seal, details_digest, row_hash
from datalane.engine.permissions import READ_AUDIT

_SEALS_A_PAGE = 20
_ROWS_A_PAGE = 1_000
_queries = load_queries(__file__, "audit.sql")
Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Head:
    """The newest seal of a workspace: whoever keeps it elsewhere finds out when the chain was cut or written anew.

    `rows` counts the workspace's sealed rows, `seal_hash` is hexadecimal.
    """

    workspace_id: UUID
    seal_no: int
    rows: int
    seal_hash: str
    sealed_at: datetime

    @classmethod
    def of(cls, row: Row) -> Head:
        return cls(row["workspace_id"], row["seal_no"], row["last_position"], row["seal_hash"].hex(), row["sealed_at"])


@dataclass(frozen=True, slots=True)
class Fault:
    """What does not fit, with the seal and the row it was found at."""

    kind: str
    message: str
    seal_no: int | None = None
    position: int | None = None
    audit_id: UUID | None = None


@dataclass(slots=True)
class Verified:
    """What was checked in one workspace. `waiting` rows have no seal yet."""

    workspace_id: UUID
    seals: int = 0
    rows: int = 0
    waiting: int = 0
    details_erased: int = 0
    faults: list[Fault] = field(default_factory=list)


async def get_head(tx: Transaction) -> Head | None:
    """The newest seal of the transaction's workspace, None before the first."""
    READ_AUDIT.check(tx.context)
    row = await _queries.get_head(tx.connection, workspace_id=tx.workspace_id)
    return None if row is None else Head.of(row)


async def verify(tx: Transaction, kept: Head | None = None) -> Verified:
    """Check the log of the transaction's workspace, against the head `kept` elsewhere if there is one.

    Call it first in a transaction of its own, which it makes see one moment and write nothing.
    """
    READ_AUDIT.check(tx.context)
    await tx.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    return await _Verification(tx, kept).run()


class _Verification:
    def __init__(self, tx: Transaction, kept: Head | None) -> None:
        self._tx = tx
        self._home = tx.workspace_id
        self._kept = kept
        self._done = Verified(self._home)
        self._erased: set[UUID] = set()
        self._elsewhere: set[UUID] = set()
        """Rows that stand outside the places that their seal covers."""

    async def run(self) -> Verified:
        self._erased = await self._find_erasures()
        previous: Seal | None = None
        intruders: list[tuple[int, Row]] = []
        certain = True
        async for seal in self._seals():
            sound = self._check_hash(seal)
            follows = self._check_order(seal, previous, sound)
            self._check_kept(seal)
            if sound:
                start = previous.last if previous else BEGINNING
                strangers = await self._check_rows(seal, start)
                if follows and certain:
                    intruders += [(seal.seal_no, row) for row in strangers]
            self._done.seals += 1
            previous, certain = seal, sound
        self._report_intruders(intruders)
        self._check_end(previous)
        await self._look_at_waiting(previous.last if previous else BEGINNING)
        return self._done

    def _fault(self, kind: str, message: str, seal_no: int | None = None, **where: Any) -> None:
        self._done.faults.append(Fault(kind, message, seal_no, **where))

    # Seals --------------------------------------------------------------------------------------------------------

    async def _seals(self) -> AsyncIterator[Seal]:
        after = 0
        while True:
            page = await _queries.list_seals(
                self._tx.connection, workspace_id=self._home, after=after, most=_SEALS_A_PAGE
            )
            for row in page:
                yield Seal.of(row)
            if len(page) < _SEALS_A_PAGE:
                return
            after = page[-1]["seal_no"]

    def _check_order(self, seal: Seal, previous: Seal | None, sound: bool) -> bool:
        """Whether the seal continues the one before; what is a fault of one of them alone is not told twice."""
        due = previous.seal_no + 1 if previous else 1
        if seal.seal_no != due:
            missing = f"seal {due} was" if seal.seal_no == due + 1 else f"seals {due} to {seal.seal_no - 1} were"
            self._fault("seal_removed", f"{missing} removed", due)
            return False
        hashes = {previous.seal_hash, previous.computed_hash(self._home)} if previous else {NO_SEAL}
        if sound and seal.previous_hash not in hashes:
            self._fault(
                "chain_broken",
                f"seal {seal.seal_no} does not continue {f'seal {due - 1}' if previous else 'from the beginning'}: "
                "one of them was written anew",
                seal.seal_no,
            )
            return False
        return True

    def _check_hash(self, seal: Seal) -> bool:
        if seal.computed_hash(self._home) == seal.seal_hash:
            return True
        self._fault("seal_changed", f"seal {seal.seal_no} was changed, so its rows cannot be checked", seal.seal_no)
        return False

    def _check_kept(self, seal: Seal) -> None:
        if self._kept and seal.seal_no == self._kept.seal_no and seal.seal_hash.hex() != self._kept.seal_hash:
            self._fault("head_differs", f"seal {seal.seal_no} is not the one whose hash was kept", seal.seal_no)

    def _check_end(self, last: Seal | None) -> None:
        ends_at = last.seal_no if last else 0
        if self._kept and ends_at < self._kept.seal_no:
            self._fault(
                "seals_cut_off",
                f"the chain ends at seal {ends_at} with {last.last_position if last else 0:,} rows; the kept head is "
                f"seal {self._kept.seal_no} with {self._kept.rows:,} rows, so the newest seals were removed",
                ends_at + 1,
            )

    # Rows ---------------------------------------------------------------------------------------------------------

    async def _check_rows(self, seal: Seal, after: Place) -> list[Row]:
        """Check every row of the seal; answers the rows that stand among its places and not in its manifest."""
        entries = list(seal.entries())
        places = await self._rows(after, seal.last, len(entries) + _ROWS_A_PAGE)
        rows = {row["audit_id"]: row for row in places}
        missing = [audit_id for _, audit_id, _ in entries if audit_id not in rows]
        if missing:
            moved = await _queries.get_rows(self._tx.connection, workspace_id=self._home, audit_ids=missing)
            rows |= {row["audit_id"]: row for row in moved}
            self._elsewhere |= {row["audit_id"] for row in moved}
        xids = {row["recorded_xid"] for row in rows.values()}
        for position, audit_id, sealed_hash in entries:
            self._check_row(seal.seal_no, position, audit_id, rows.get(audit_id), sealed_hash, xids)
        self._done.rows += len(entries)
        listed = {audit_id for _, audit_id, _ in entries}
        return [row for row in places if row["audit_id"] not in listed]

    async def _rows(self, after: Place, until: Place, most: int) -> Sequence[Row]:
        rows: Sequence[Row] = await _queries.list_rows(
            self._tx.connection,
            workspace_id=self._home,
            after_xid=after.xid,
            after_id=after.audit_id,
            until_xid=until.xid,
            until_id=until.audit_id,
            most=most,
        )
        return rows

    def _check_row(
        self, seal_no: int, position: int, audit_id: UUID, row: Row | None, sealed_hash: bytes, xids: set[int]
    ) -> None:
        name = f"row {position:,} ({audit_id}) of seal {seal_no}"
        where: dict[str, Any] = {"seal_no": seal_no, "position": position, "audit_id": audit_id}
        if row is None:
            self._fault("row_removed", f"{name} was removed", **where)
        elif row_hash(self._home, row) == sealed_hash:
            self._check_details(row, name, where)
        elif any(row_hash(self._home, {**row, "recorded_xid": xid}) == sealed_hash for xid in xids):
            self._fault("row_moved", f"{name} was moved to another place in the order", **where)
        else:
            self._fault("row_changed", f"{name} was changed", **where)

    def _report_intruders(self, intruders: list[tuple[int, Row]]) -> None:
        for seal_no, row in intruders:
            if row["audit_id"] not in self._elsewhere:
                self._fault(
                    "row_inserted",
                    f"row {row['audit_id']} was inserted into the past: it stands among the rows of seal {seal_no}, "
                    "which does not know it",
                    seal_no,
                    audit_id=row["audit_id"],
                )

    async def _look_at_waiting(self, after: Place) -> None:
        while True:
            page = await self._rows(after, END, _ROWS_A_PAGE)
            for row in page:
                if row["audit_id"] not in self._elsewhere:
                    self._done.waiting += 1
                    self._check_details(row, f"row {row['audit_id']}, not sealed yet,", {"audit_id": row["audit_id"]})
            if len(page) < _ROWS_A_PAGE:
                return
            after = Place.of(page[-1])

    # Details ------------------------------------------------------------------------------------------------------

    def _check_details(self, row: Row, name: str, where: dict[str, Any]) -> None:
        sealed, salt = row["details_digest"], row["salt"]
        if sealed is None:
            if salt is not None:
                self._fault("details_added", f"details were added to {name}, which had none", **where)
        elif salt is None:
            if row["audit_id"] in self._erased:
                self._done.details_erased += 1
            else:
                self._fault("details_removed", f"the details of {name} are gone, and no record says erased", **where)
        elif details_digest(salt, row["before"], row["after"]) != sealed:
            self._fault("details_changed", f"the details of {name} were changed", **where)

    async def _find_erasures(self) -> set[UUID]:
        """The rows that a record of erasing names; a record whose own details were changed names none."""
        named: set[UUID] = set()
        for row in await _queries.list_erasures(self._tx.connection, workspace_id=self._home):
            if details_digest(row["salt"], row["before"], row["after"]) == row["details_digest"]:
                named |= {UUID(text) for text in orjson.loads(row["after"])["audit_ids"]}
        return named

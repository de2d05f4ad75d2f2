"""Secrets of a workspace: sealed under a data key of its own, which the lane's master key wraps.

The database never sees a secret or an unwrapped key; who reads its tables, or a backup of them, learns neither. The
data key is made with the first secret. When the master key changes, the data keys are wrapped anew (`rewrap`), and no
secret is touched.
"""

from __future__ import annotations

from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.engine.audit import record
from datalane.kit import envelope
from datalane.kit.clock import utc_now
from datalane.kit.envelope import MasterKeyMissing, MasterKeys, WrappedKey

_queries = load_queries(__file__, "vault.sql")


async def seal(tx: Transaction, plain: bytes, about: str) -> bytes:
    """`plain` as it may be stored. `about` names the place (`connector:<id>`), and opens it again nowhere else.

    The first secret of a workspace needs an admin. Raises `MasterKeyMissing`.
    """
    return envelope.seal(await _data_key(tx), plain, _place(tx, about))


async def open_sealed(tx: Transaction, sealed: bytes, about: str) -> bytes:
    """What `seal` was given. Raises `MasterKeyMissing`, and `SealBroken` for what was changed or lay elsewhere."""
    return envelope.open_sealed(await _data_key(tx), sealed, _place(tx, about))


async def rewrap(tx: Transaction) -> bool:
    """Wrap the workspace's data key under the current master key; whether it was not so already.

    Raises `MasterKeyMissing` when the master key that it is under is not set any more.
    """
    keys, known = _master_keys(tx), await _read(tx)
    if known is None or known.master_key_id == keys.current_id:
        return False
    made = keys.wrap(keys.unwrap(known, tx.workspace_id.bytes), tx.workspace_id.bytes)
    done = await _queries.rewrap_data_key(
        tx.connection,
        workspace_id=tx.workspace_id,
        before=known.master_key_id,
        master_key_id=made.master_key_id,
        wrapped=made.wrapped,
        now=utc_now(),
    )
    if done != "UPDATE 1":
        return False  # somebody else was faster
    await _recorded(tx, "rewrapped", known.master_key_id, made.master_key_id)
    return True


async def _data_key(tx: Transaction) -> bytes:
    keys = _master_keys(tx)
    known = await _read(tx)
    if known is None:
        made = keys.wrap(envelope.make_data_key(), tx.workspace_id.bytes)
        done = await _queries.add_data_key(
            tx.connection,
            workspace_id=tx.workspace_id,
            master_key_id=made.master_key_id,
            wrapped=made.wrapped,
            now=utc_now(),
        )
        if done == "INSERT 0 1":
            await _recorded(tx, "made", None, made.master_key_id)
        known = await _read(tx) or made  # another transaction's, if that was faster
    return keys.unwrap(known, tx.workspace_id.bytes)


async def _read(tx: Transaction) -> WrappedKey | None:
    row = await _queries.get_data_key(tx.connection, workspace_id=tx.workspace_id)
    return None if row is None else WrappedKey(row["master_key_id"], row["wrapped"])


async def _recorded(tx: Transaction, what: str, before: str | None, after: str) -> None:
    await record(
        tx,
        f"data_key.{what}",
        "data_key",
        tx.workspace_id,
        before=None if before is None else {"master_key_id": before},
        after={"master_key_id": after},
    )


def _master_keys(tx: Transaction) -> MasterKeys:
    keys = tx.master_keys()
    if keys is None:
        raise MasterKeyMissing("this lane keeps no secrets, as no master key is set; set DATALANE_MASTER_KEY")
    return keys


def _place(tx: Transaction, about: str) -> bytes:
    return tx.workspace_id.bytes + about.encode()

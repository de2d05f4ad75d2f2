"""Audit records: in the transaction that did it, without secrets, and for good."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest
from tests.integration.engine.lab import Lab, Undone, ranked, undo

from datalane.contracts.context import Context, Role
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.engine.audit import erase_details, erase_person, list_records, record
from datalane.errors import Forbidden, InvalidInput, LimitExceeded
from datalane.kit.ids import SYSTEM_WORKSPACE, uuid7
from datalane.kit.redaction import MASK, is_secret_name, redact

RECORDS = """
SELECT action, resource_type, resource_id, actor_id, correlation_id, before, after FROM datalane.audit_records
ORDER BY audit_id
"""


@pytest.fixture
async def maintenance(urls: Prepared) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(urls.maintenance_url)
    yield connection
    await connection.close()


async def test_a_record_says_who_did_what_with_the_correlation_id(database: Database, context: Context) -> None:
    async with database.transaction(context) as tx:
        audit_id = await record(tx, "item.renamed", "item", "7", before={"name": "a"}, after={"name": "b"})
        rows = await tx.fetch(RECORDS)
    assert audit_id.version == 7
    assert [tuple(row) for row in rows] == [
        ("item.renamed", "item", "7", context.actor_id, context.correlation_id, {"name": "a"}, {"name": "b"})
    ]


async def test_a_record_goes_with_the_transaction_that_rolls_back(lab: Lab, context: Context) -> None:
    with pytest.raises(Undone):
        await undo(lab.database, context, lambda tx: record(tx, "item.renamed", "item", None, after={"name": "b"}))
    assert await lab.count(context, "datalane.audit_log") == 0
    assert await lab.count(context, "datalane.audit_details") == 0


async def test_records_are_listed_newest_first_and_filtered(database: Database, context: Context) -> None:
    somebody = ranked(context, Role.MEMBER)
    async with database.transaction(context) as tx:
        first = await record(tx, "item.made", "item", "7")
    async with database.transaction(somebody) as tx:
        second = await record(tx, "item.renamed", "item", "8", after="b")
        assert [one.audit_id for one in await list_records(tx)] == [second, first]
        assert [one.audit_id for one in await list_records(tx, most=1)] == [second]
        for wanted in ({"action": "item.made"}, {"actor_id": context.actor_id}, {"resource_id": "7"}):
            assert [one.audit_id for one in await list_records(tx, **wanted)] == [first]
        assert await list_records(tx, resource_type="project") == []


# Append-only ------------------------------------------------------------------------------------------------------


TABLES = ("audit_log", "audit_details", "audit_seals")
CHANGES = (
    "UPDATE datalane.{} SET workspace_id = workspace_id",
    "DELETE FROM datalane.{}",
    "INSERT INTO datalane.{0} SELECT * FROM datalane.{0}",
    "TRUNCATE datalane.{}",
)


async def test_not_even_the_owner_changes_the_record(lab: Lab, context: Context) -> None:
    async with lab.database.transaction(context) as tx:
        await record(tx, "item.renamed", "item", "7", after={"name": "b"})
    for attempt in (change.format(table) for change in CHANGES for table in TABLES):
        with pytest.raises(Forbidden):
            async with lab.database.transaction(ranked(context, Role.OWNER)) as tx:
                await tx.execute(attempt)
    assert await lab.count(context, "datalane.audit_log") == 1
    assert await lab.count(context, "datalane.audit_details") == 1


async def test_no_role_holds_the_privilege_to_change_or_remove_a_record(maintenance: asyncpg.Connection) -> None:
    held = await maintenance.fetch(
        """SELECT c.relname::text, a.grantee::regrole::text, a.privilege_type
           FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a
           WHERE c.oid = ANY ('{datalane.audit_log,datalane.audit_details,datalane.audit_seals}'::regclass[])
             AND a.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE')
           UNION ALL
           SELECT attrelid::regclass::text, b.grantee::regrole::text, b.privilege_type
           FROM pg_attribute CROSS JOIN LATERAL aclexplode(attacl) b
           WHERE attrelid = ANY ('{datalane.audit_log,datalane.audit_details,datalane.audit_seals}'::regclass[])
             AND b.privilege_type = 'UPDATE'"""
    )
    assert [tuple(row) for row in held] == [("audit_details", "datalane_definer", "DELETE")]


async def test_the_maintenance_login_in_no_role_of_its_changes_the_record(maintenance: asyncpg.Connection) -> None:
    for role in ("datalane_maintenance", "datalane_owner", "datalane_definer"):
        await maintenance.execute(f"SET ROLE {role}")
        for change in (CHANGES[0], CHANGES[1], CHANGES[3]):
            for table in ("audit_log", "audit_seals"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await maintenance.execute(change.format(table))
        await maintenance.execute("RESET ROLE")


async def test_what_an_operator_does_to_a_job_is_on_record(lab: Lab, context: Context) -> None:
    (job_id,) = await lab.enqueue(context)
    await lab.operate(context, "cancel_jobs", [job_id])
    await lab.operate(context, "replay_jobs", [job_id])
    rows = await lab.rows(context, RECORDS)
    assert [(row["action"], row["resource_id"]) for row in rows] == [
        ("job.canceled", str(job_id)),
        ("job.replayed", str(job_id)),
    ]


async def test_what_holds_everywhere_is_on_record_in_the_reserved_workspace(lab: Lab, context: Context) -> None:
    who = {"actor": context.actor_id, "correlation": context.correlation_id}
    await lab.value("pause_kind_everywhere", kind="work", **who)
    await lab.value("resume_kind_everywhere", kind="work", **who)
    rows = await lab.rows(Context.system(SYSTEM_WORKSPACE), RECORDS)
    assert [tuple(row)[:5] for row in rows] == [
        ("jobs.paused", "job_kind", "work", context.actor_id, context.correlation_id),
        ("jobs.resumed", "job_kind", "work", context.actor_id, context.correlation_id),
    ]
    assert await lab.count(context, "datalane.audit_log") == 0, "no tenant's record, and no tenant sees it"


# Secrets ----------------------------------------------------------------------------------------------------------

NAMES = [
    *("password", "new_passwd", "API-Key", "apikey", "webhook_secret", "access_token", "Authorization", "set-cookie"),
    *("db_dsn", "credentials", "private_key", "signature", "token_count", "secret_id", "token_ids", "password_set_at"),
    *("signature_verified", "idempotency_key", "max_tokens", "tokens", "name", "monkey", "", "secret\ntoken_id"),
]


def nested(depth: int) -> object:
    value: object = {"password": "p"}
    for _ in range(depth):
        value = {"in": [value]}
    return value


SAID: list[object] = [
    {"password": "hunter2", "name": "Ada", "token_count": 3, "api_key": None},
    {"outer": [{"secret": {"any": "thing"}}, "text", 7, None, True, []], "empty": {}},
    *(nested(depth) for depth in (4, 5, 6, 7)),
    ["token"],
    "token_id",
    {},
]


async def test_the_verb_and_the_service_know_the_same_secret_names(maintenance: asyncpg.Connection) -> None:
    await maintenance.execute("SET ROLE datalane_definer")
    for name in NAMES:
        assert await maintenance.fetchval("SELECT datalane.is_secret_name($1)", name) == is_secret_name(name), name


async def test_secrets_in_the_values_are_masked_whoever_calls_the_verb(database: Database, context: Context) -> None:
    for said in SAID:
        async with database.transaction(context) as tx:
            await tx.execute("SELECT datalane.audit('item.made', 'item', '7', $1::jsonb, $2::jsonb)", None, said)
            await record(tx, "item.made", "item", "7", after=said)
            rows = await list_records(tx, most=2)
        assert [row.after for row in rows] == [redact(said), redact(said)]


async def test_the_service_masks_what_looks_like_a_secret_too(database: Database, context: Context) -> None:
    async with database.transaction(context) as tx:
        await record(tx, "item.made", "item", "7", before={"note": "Bearer abc.def"}, after={"password": "p"})
        (made,) = await list_records(tx)
    assert (made.before, made.after) == ({"note": f"Bearer {MASK}"}, {"password": MASK})


# Erasing ----------------------------------------------------------------------------------------------------------


async def test_erasing_takes_the_values_and_leaves_a_record_of_it(database: Database, context: Context) -> None:
    async with database.transaction(context) as tx:
        gone = await record(tx, "item.made", "item", "7", before={"name": "Ada"}, after={"name": "Eve"})
        kept = await record(tx, "item.made", "item", "8", after={"name": "Bob"})
        empty = await record(tx, "item.seen", "item", "8")
    owner = ranked(context, Role.OWNER)
    async with database.transaction(owner) as tx:
        assert await erase_details(tx, [gone, empty, uuid7()], "asked for it") == 1
        assert await erase_details(tx, [gone], "again") == 0
        records = {one.audit_id: one for one in await list_records(tx)}
        (erasing,) = await list_records(tx, action="audit.details_erased")
        assert await erase_details(tx, [erasing.audit_id], "hide it") == 0
    assert (records[gone].before, records[gone].after, records[gone].details_erased) == (None, None, True)
    assert (records[kept].after, records[kept].details_erased) == ({"name": "Bob"}, False)
    assert not records[empty].details_erased
    assert erasing.actor_id == owner.actor_id
    assert erasing.after == {"audit_ids": [str(gone)], "reason": "asked for it"}


async def test_a_person_is_erased_wherever_the_values_name_them(database: Database, context: Context) -> None:
    person, name = uuid7(), 'Ada "the Countess" Lovelace'
    async with database.transaction(context) as tx:
        about = [
            await record(tx, "membership.added", "membership", person, after={"role": "viewer"}),
            await record(tx, "item.given", "item", "7", before={"to": str(person)}),
            await record(tx, "item.given", "item", "7", after={"to": ["ada@example.com"]}),
            await record(tx, "item.given", "item", "7", after={"to": name}),
        ]
        other = await record(tx, "item.given", "item", "7", after={"to": "bob@example.com"})
    async with database.transaction(ranked(context, Role.OWNER)) as tx:
        assert await erase_person(tx, person, "asked for it", ["ada@example.com", name]) == 4
        erased = {one.audit_id for one in await list_records(tx) if one.details_erased}
    assert erased == set(about)
    assert other not in erased


async def test_erasing_takes_an_owner_a_reason_and_not_too_much(database: Database, context: Context) -> None:
    for attempt in ("erase_audit_details('{}', 'r')", "erase_person_from_audit(app.uuid7(), '{}', 'r')"):
        with pytest.raises(Forbidden):
            async with database.transaction(ranked(context, Role.ADMIN)) as tx:
                await tx.execute(f"SELECT datalane.{attempt}")
    async with database.transaction(ranked(context, Role.OWNER)) as tx:
        with pytest.raises(InvalidInput, match="reason"):
            async with tx.savepoint():
                await erase_details(tx, [uuid7()], "")
        with pytest.raises(LimitExceeded, match="at most 1000"):
            async with tx.savepoint():
                await erase_details(tx, [uuid7()] * 1_001, "r")
        with pytest.raises(InvalidInput, match="must not be empty"):
            async with tx.savepoint():
                await erase_person(tx, uuid7(), "r", [""])


async def test_an_owner_erases_nothing_of_another_workspace(
    database: Database, context: Context, other_context: Context
) -> None:
    async with database.transaction(context) as tx:
        theirs = await record(tx, "item.made", "item", "7", after={"name": "Ada"})
    async with database.transaction(ranked(other_context, Role.OWNER)) as tx:
        assert await erase_details(tx, [theirs], "r") == 0
        assert await erase_person(tx, uuid7(), "r", ["Ada"]) == 0
    async with database.transaction(context) as tx:
        assert [one.after for one in await list_records(tx)] == [{"name": "Ada"}]

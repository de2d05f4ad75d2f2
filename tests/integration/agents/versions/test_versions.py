"""Registering prompts, models and output schemas: once each, numbered without gaps, never changed."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest
from tests.integration.agents.versions.conftest import Desk
from tests.integration.engine.lab import eventually

from datalane.agents.versions import models, output_schemas, prompts
from datalane.agents.versions.schemas import NewAgentModel, NewPrompt
from datalane.contracts.context import Role
from datalane.db.transaction import Transaction
from datalane.engine.audit import list_records
from datalane.errors import Forbidden, InvalidInput, LimitExceeded, NotFound
from datalane.kit.ids import uuid7

SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}


async def test_the_same_template_is_the_same_version_and_another_is_the_next(desk: Desk) -> None:
    first, again, second = await desk.prompt("One"), await desk.prompt("One"), await desk.prompt("Two")
    assert (first.version, first.created) == (1, True)
    assert again == first.model_copy(update={"created": False})
    assert (second.version, second.created) == (2, True)
    assert (await desk.prompt("One")).version == 1, "also after another one came"
    assert (await desk.prompt("One", "greet")).version == 1, "a name has versions of its own"


async def test_the_same_revision_is_the_same_model_and_another_is_another(desk: Desk) -> None:
    first, again = await desk.model(), await desk.model()
    assert again == first.model_copy(update={"created": False})
    others = [await desk.model(revision="2"), await desk.model("owl-2"), await desk.model(provider="herons")]
    assert len({first.model_version_id, *(other.model_version_id for other in others)}) == 4


async def test_the_order_of_keys_makes_no_other_schema(desk: Desk) -> None:
    first = await desk.output_schema(SCHEMA)
    again = await desk.output_schema(dict(reversed(SCHEMA.items())))
    assert (again.output_schema_version_id, again.created) == (first.output_schema_version_id, False)
    assert (await desk.output_schema({**SCHEMA, "title": "An answer"})).version == 2


async def test_what_is_registered_is_read_as_it_was_written(desk: Desk) -> None:
    template = "Zeile 1\r\n\tZeile 2 \u202e {frage} 🦉\n"
    prompt, schema = await desk.prompt(template), await desk.output_schema(SCHEMA)
    async with desk.database.transaction(desk.context) as tx:
        assert (await prompts.get_prompt(tx, prompt.prompt_version_id)).template == template
        read = await output_schemas.get_output_schema(tx, schema.output_schema_version_id)
    assert read.json_schema == SCHEMA


async def test_two_at_once_with_one_text_make_one_version(desk: Desk) -> None:
    found = await asyncio.gather(*(desk.prompt("One") for _ in range(8)))
    assert ({one.version for one in found}, sum(one.created for one in found)) == ({1}, 1)
    made = await asyncio.gather(*(desk.model() for _ in range(8)))
    assert (len({one.model_version_id for one in made}), sum(one.created for one in made)) == (1, 1)
    told = await asyncio.gather(*(desk.output_schema(SCHEMA) for _ in range(8)))
    assert ({one.version for one in told}, sum(one.created for one in told)) == ({1}, 1)


async def test_many_at_once_with_different_texts_are_numbered_without_gaps(desk: Desk) -> None:
    found = await asyncio.gather(*(desk.prompt(f"Text {number}") for number in range(8)))
    assert sorted(one.version for one in found) == list(range(1, 9))
    told = await asyncio.gather(*(desk.output_schema({"title": f"Schema {number}"}) for number in range(8)))
    assert sorted(one.version for one in told) == list(range(1, 9))


async def blocks(tx: Transaction, sessions: int) -> None:
    """Wait until so many sessions wait for what this transaction holds."""
    sql = "SELECT DISTINCT pid FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"

    async def waits() -> bool:
        return len(await tx.fetch(sql)) == sessions

    await eventually(waits)


class _ThoughtBetterOfIt(Exception):
    pass


async def test_a_registration_that_waits_for_one_that_is_rolled_back_makes_the_version(desk: Desk) -> None:
    waiting: list[asyncio.Task[Any]] = []

    async def register_and_fail() -> None:
        async with desk.database.transaction(desk.context) as tx:
            await prompts.register_prompt(tx, NewPrompt(name="answer", template="One"))
            await models.register_model(tx, NewAgentModel(provider="owls", model="owl-1"))
            for registration in (desk.prompt("One"), desk.model()):
                waiting.append(asyncio.create_task(registration))
                await blocks(tx, len(waiting))
            raise _ThoughtBetterOfIt

    with pytest.raises(_ThoughtBetterOfIt):
        await register_and_fail()
    assert [(await each).created for each in waiting] == [True, True]


async def test_another_workspace_has_versions_of_its_own_and_sees_none(desk: Desk, other_desk: Desk) -> None:
    prompt, model, schema = await desk.prompt("One"), await desk.model(), await desk.output_schema(SCHEMA)
    assert (await other_desk.prompt("One")).version == 1
    async with other_desk.database.transaction(other_desk.context) as tx:
        for read in (
            prompts.get_prompt(tx, prompt.prompt_version_id),
            models.get_model(tx, model.model_version_id),
            output_schemas.get_output_schema(tx, schema.output_schema_version_id),
        ):
            with pytest.raises(NotFound):
                await read
        assert [one.name for one in (await prompts.list_prompts(tx)).data] == ["answer"]
        assert (await models.list_models(tx)).data == []
        assert (await output_schemas.list_output_schemas(tx)).data == []


async def test_a_viewer_reads_and_registers_nothing(desk: Desk) -> None:
    viewer, prompt = desk.acting(Role.VIEWER), await desk.prompt()
    for register in (viewer.prompt("Two"), viewer.model(), viewer.output_schema(SCHEMA)):
        with pytest.raises(Forbidden, match=r"agent_version\.register"):
            await register
    async with desk.database.transaction(viewer.context) as tx:
        assert (await prompts.get_prompt(tx, prompt.prompt_version_id)).version == 1


ADDED = {
    "agent_prompts": "(workspace_id, prompt_version_id, name, version, template, template_sha256, created_at, "
    "created_by_actor_id) VALUES ($1, $2, 'x', 1, 'One', sha256('One'), now(), $2)",
    "agent_models": "(workspace_id, model_version_id, provider, model, created_at, created_by_actor_id) "
    "VALUES ($1, $2, 'owls', 'owl-9', now(), $2)",
    "agent_output_schemas": "(workspace_id, output_schema_version_id, name, version, schema, schema_sha256, "
    "created_at, created_by_actor_id) VALUES ($1, $2, 'x', 1, '{}', sha256('{}'), now(), $2)",
}


@pytest.mark.parametrize("table", ADDED)
async def test_raw_sql_adds_as_a_member_and_changes_nothing_as_anybody(
    desk: Desk, other_desk: Desk, table: str
) -> None:
    add = f"INSERT INTO datalane.{table} {ADDED[table]}"
    with pytest.raises(Forbidden):
        await desk.acting(Role.VIEWER).run(add, desk.context.workspace_id, uuid7())
    with pytest.raises(Forbidden):
        await desk.run(add, other_desk.context.workspace_id, uuid7())
    await desk.acting(Role.MEMBER).run(add, desk.context.workspace_id, uuid7())
    for change in (f"UPDATE datalane.{table} SET created_at = now()", f"DELETE FROM datalane.{table}"):
        with pytest.raises(Forbidden):
            await desk.acting(Role.OWNER).run(change)


@pytest.mark.parametrize(
    ("table", "said", "name"),
    [
        ("agent_prompts", ("sha256('One')", "sha256('Two')"), "the_digest_is_the_templates"),
        ("agent_prompts", ("'One', sha256('One')", "repeat('x', 65537), sha256(repeat('x', 65537)::bytea)"), "64_kib"),
        ("agent_prompts", ("'x', 1", "'x', 0"), "versions_begin_at_one"),
        ("agent_output_schemas", ("sha256('{}')", "sha256('{ }')"), "the_digest_is_the_schemas"),
        ("agent_output_schemas", ("'{}', sha256('{}')", "'[]', sha256('[]')"), "a_schema_is_an_object"),
        ("agent_models", ("'owl-9'", "''"), "models_are_short"),
    ],
)
async def test_raw_sql_cannot_lie_of_a_version(desk: Desk, table: str, said: tuple[str, str], name: str) -> None:
    assert said[0] in ADDED[table]
    with pytest.raises(asyncpg.CheckViolationError, match=name):
        await desk.run(
            f"INSERT INTO datalane.{table} {ADDED[table].replace(*said)}", desk.context.workspace_id, uuid7()
        )


async def test_every_version_that_is_made_leaves_one_record_and_one_that_was_there_none(desk: Desk) -> None:
    for _ in range(2):
        await desk.prompt()
        await desk.model()
        await desk.output_schema(SCHEMA)
    async with desk.database.transaction(desk.context) as tx:
        records = await list_records(tx)
    assert sorted(record.action for record in records) == [
        "agent_model.registered",
        "agent_output_schema.registered",
        "agent_prompt.registered",
    ]


@pytest.mark.parametrize("schema", [{"type": "nope"}, {"$ref": "https://example.com/a"}, {"$ref": "#"}])
async def test_a_schema_that_cannot_be_checked_by_is_not_kept(desk: Desk, schema: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as refused:
        await desk.output_schema(schema)
    assert refused.value.errors[0]["field"] == "body.json_schema"
    with pytest.raises(LimitExceeded):
        await desk.output_schema({"description": "x" * 65_536})
    assert await desk.run("SELECT name FROM datalane.agent_output_schemas") == []


async def test_a_schema_of_large_numbers_is_one_version_and_read_back(desk: Desk) -> None:
    """A few characters of JSON that are hundreds in the database."""
    schema = {"enum": [1e308, 1e-300, 2**63 - 1, 1.0, 1e16]}
    first = await desk.output_schema(schema)
    assert (await desk.output_schema(schema)).version == first.version
    async with desk.database.transaction(desk.context) as tx:
        read = await output_schemas.get_output_schema(tx, first.output_schema_version_id)
    assert read.json_schema == schema

"""Statements whose best plan depends on the workspace get plans of their own, in one transaction and no further."""

from __future__ import annotations

from contextlib import suppress

from bench.relay import open_relay

from datalane.contracts.context import Context
from datalane.contracts.plans import Plans
from datalane.db.database import Database
from datalane.db.provision import Prepared
from datalane.db.transaction import Transaction


async def way_to_plan(tx: Transaction) -> tuple[str, str]:
    return await tx.fetchval("SHOW plan_cache_mode"), await tx.fetchval("SHOW jit")


async def test_a_transaction_that_says_so_plans_each_statement_and_the_next_one_does_not(
    database: Database, context: Context
) -> None:
    async with database.transaction(context) as tx:
        usual = await way_to_plan(tx)
    async with database.transaction(context, plans=Plans.OWN) as tx:
        assert await way_to_plan(tx) == ("force_custom_plan", "off")
    async with database.transaction(context) as tx:
        await tx.state_plans(Plans.OWN)
        assert await way_to_plan(tx.acting_as(context)) == ("force_custom_plan", "off")
    async with database.transaction(context) as tx:
        assert await way_to_plan(tx) == usual == ("auto", usual[1])


async def test_saying_so_in_the_opening_costs_no_round_trip_and_later_one(urls: Prepared, context: Context) -> None:
    async with open_relay(urls.database_url) as (relay, url):
        door = await Database.connect(url, size=1)
        counted = []
        for opened, times in ((True, 0), (True, 2), (False, 0), (False, 2)):
            before = relay.round_trips
            async with door.transaction(context, plans=Plans.OWN if opened else Plans.USUAL) as tx:
                for _ in range(times):
                    await tx.state_plans(Plans.OWN)
            counted.append(relay.round_trips - before)
        await door.close()
    assert counted == [2, 2, 2, 3]


async def test_a_savepoint_that_fails_takes_the_way_to_plan_with_it(database: Database, context: Context) -> None:
    async with database.transaction(context) as tx:
        with suppress(ZeroDivisionError):
            async with tx.savepoint():
                await tx.state_plans(Plans.OWN)
                raise ZeroDivisionError
        assert (await way_to_plan(tx))[0] == "auto"
        await tx.state_plans(Plans.OWN)
        assert (await way_to_plan(tx))[0] == "force_custom_plan"

"""What the benchmark of analytics compares stands side by side: it runs, and both sides count the same."""

from __future__ import annotations

import asyncpg
from bench.analytics import asking, recording

from datalane.db.database import Database
from datalane.db.embedded import EmbeddedPostgres
from datalane.db.provision import Prepared


async def test_both_sides_do_the_same(database: Database, urls: Prepared, cluster: EmbeddedPostgres) -> None:
    name = urls.database_url.partition("?")[0].rpartition("/")[2]
    admin = await asyncpg.connect(cluster.url(name))
    try:
        recorded = await recording.measure(database, admin, rounds=1)
        asked = await asking.measure(database, admin, events=2_000, runs=1)
    finally:
        await admin.close()
    assert [len(each) for each in vars(recorded).values()] == [1, 1, 1, 1]
    assert asked.ratio > 0

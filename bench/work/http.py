"""A list of 25 items over HTTP: our API process and the bare app, by the same client, in turns."""

from __future__ import annotations

import tempfile

import orjson

from bench.http_load import Served, Side, ask, free_port, get, running, take_turns
from bench.work.ground import Ground, opened
from datalane.identity.sessions import begin_session
from datalane.settings import SessionSettings
from datalane.work.fields.definitions import Fields
from datalane.work.query.compose import compose
from datalane.work.query.schemas import read_query


async def time_http(ground: Ground, rounds: int) -> Served:
    async with opened(ground.prepared, size=1) as database:
        session = await begin_session(database, ground.owner_id, ground.workspace_id, SessionSettings())
        composed = compose(read_query({}), Fields(), "english", ground.workspace_id, database.limits)
    own = {
        **ground.prepared.as_environment(),
        "DATALANE_HOME": tempfile.gettempdir(),
        "DATALANE_LOG_LEVEL": "ERROR",
    }
    theirs = {
        "BENCH_URL": ground.plain_url,
        "BENCH_SQL": composed.sql,
        "BENCH_ARGUMENTS": orjson.dumps(composed.args[1:]).decode(),
    }
    ours = Side(free_port(), lambda number: get("/items/list", session.token))
    bare = Side(free_port(), lambda number: get("/items", session.token))
    with (
        running(["-m", "datalane.cli.main", "api", "--port", str(ours.port)], own, ours.port),
        running(["-m", "bench.work.bare", str(bare.port)], theirs, bare.port),
    ):
        _require_same(await ask(ours), await ask(bare))
        return await take_turns(ours, bare, rounds)


def _require_same(ours: bytes, bare: bytes) -> None:
    mine, theirs = ([item["item_id"] for item in orjson.loads(body)["data"]] for body in (ours, bare))
    if mine != theirs or len(mine) != 25:
        raise RuntimeError(f"the apps answer other items: {len(mine)} and {len(theirs)}")

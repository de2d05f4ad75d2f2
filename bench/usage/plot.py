"""``python -m bench.usage.plot [FILE]``: run a day of a quota on a real lane, and draw its counter as SVG.

The clock is told, as only the system may; everything else is what a lane does. The picture in the docs is made by it.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

from bench.server import Server, run_server
from datalane.access.entitlements.plans import Plan, Plans, Quota, register_plans
from datalane.access.entitlements.service import assign_plan
from datalane.access.usage import service
from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS
from datalane.db.access import Access
from datalane.db.database import Database
from datalane.db.provision import prepare
from datalane.engine.registration import register
from datalane.kit.ids import uuid7

QUOTA, LIMIT, UNITS = "api.requests", 100, 4
BEGIN, HOURS, STEP = datetime(2031, 3, 1, tzinfo=UTC), 32, timedelta(minutes=20)
CORRECTED = BEGIN + timedelta(hours=13)
WIDTH, HEIGHT, LEFT, BOTTOM = 760, 260, 46, 226
_STYLE = "font-family: sans-serif; font-size: 12px"


@dataclass
class Day:
    """What was used at each moment, when uses were refused, and the moments that the docs name."""

    used: list[tuple[datetime, int]]
    refused: list[datetime]
    named: dict[str, datetime]


async def run_day(database: Database) -> Day:
    system, day = Context.system(uuid7()), Day([], [], {"B": CORRECTED, "D": BEGIN + timedelta(days=1)})
    plans = Plans()
    plans.add(Plan("plot", (), {QUOTA: Quota(LIMIT, "day")}))
    await register(database, {}, [], list(EVENTS))
    await register_plans(database, plans)
    async with database.transaction(system) as tx:
        await assign_plan(tx, "plot", now=BEGIN)
    at, reached = BEGIN, 0
    while at < BEGIN + timedelta(hours=HOURS):
        async with database.transaction(system) as tx:
            if at == CORRECTED:
                await service.correct(tx, QUOTA, -30, "a fault of ours", idempotency_key="correction", now=at)
            used = await service.use(tx, QUOTA, UNITS, idempotency_key=at.isoformat(), now=at)
            told = await tx.fetchval(
                "SELECT count(*) FROM datalane.events WHERE workspace_id = $1 AND event_type = 'usage.limit_reached'",
                system.workspace_id,
            )
        if told > reached:
            day.named["AC"[reached]], reached = at, told
        if used.is_refused:
            day.refused.append(at)
        day.used.append((at, used.consumed_units))
        at += STEP
    return day


def draw(day: Day) -> str:
    def x(at: datetime) -> float:
        return LEFT + (WIDTH - LEFT - 10) * ((at - BEGIN) / timedelta(hours=HOURS))

    def y(units: float) -> float:
        return BOTTOM - (BOTTOM - 30) * units / (LIMIT * 1.05)

    path, before = [f"M {x(BEGIN):.1f} {y(0):.1f}"], 0
    for at, units in day.used:
        path += [f"L {x(at):.1f} {y(before):.1f}", f"L {x(at):.1f} {y(units):.1f}"]
        before = units
    marks = [
        f'<line x1="{x(at):.1f}" y1="30" x2="{x(at):.1f}" y2="{BOTTOM}" stroke="#999" stroke-dasharray="3 3"/>'
        f'<text x="{x(at) + 4:.1f}" y="26" font-weight="bold">{name}</text>'
        for name, at in sorted(day.named.items())
    ]
    refused = [f'<circle cx="{x(at):.1f}" cy="{y(LIMIT) - 5:.1f}" r="2" fill="#c0392b"/>' for at in day.refused]
    hours = [
        f'<text x="{x(at):.1f}" y="{BOTTOM + 18}" text-anchor="middle">{at:%H:%M}</text>'
        for at in (BEGIN + timedelta(hours=hour) for hour in range(0, HOURS + 1, 4))
    ]
    scale = [f'<text x="{LEFT - 6}" y="{y(units) + 4:.1f}" text-anchor="end">{units}</text>' for units in (0, 50, 100)]
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" style="{_STYLE}">',
        "<title>A counter of a day through its limit, a correction and a reset</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<line x1="{LEFT}" y1="{BOTTOM}" x2="{WIDTH - 10}" y2="{BOTTOM}" stroke="#333"/>',
        f'<line x1="{LEFT}" y1="{y(LIMIT):.1f}" x2="{WIDTH - 10}" y2="{y(LIMIT):.1f}" stroke="#c0392b"/>',
        f'<text x="{WIDTH - 12}" y="{y(LIMIT) - 10:.1f}" text-anchor="end" fill="#c0392b">limit; dots: refused</text>',
        *(*marks, *hours, *scale),
        f'<path d="{" ".join(path)}" fill="none" stroke="#1f6feb" stroke-width="2"/>',
        *refused,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


async def _run(server: Server) -> str:
    prepared = prepare(server.dsn(), "plot", Access.generate())
    database = await Database.connect(prepared.database_url, size=1)
    try:
        return draw(await run_day(database))
    finally:
        await database.close()


if __name__ == "__main__":
    with run_server() as running:
        picture = uvloop.run(_run(running))
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/how-to/usage-counter.svg")
    target.write_text(picture)
    sys.stdout.write(f"{target}\n")

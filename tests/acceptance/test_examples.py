"""The examples, and what the docs show of other drivers, run against a real database."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.acceptance.running_lane import environment, eventually

from datalane.db.access import Prepared
from datalane.kit.ids import uuid7

ROOT = Path(__file__).parents[2]
ORDERS = ROOT / "examples" / "orders"


class Shop:
    """The orders example on a database: its own commands, and `datalane worker --app`."""

    def __init__(self, urls: Prepared, folder: Path) -> None:
        self.urls = urls
        self.outbox = folder / "outbox.txt"
        self._environment = environment(folder, ORDERS_OUTBOX=str(self.outbox), **urls.as_environment())

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "app.py", *arguments],
            cwd=ORDERS,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextmanager
    def worker(self) -> Iterator[None]:
        """`datalane worker --app app:lane` from when it has made the application known until it has drained."""
        command = [sys.executable, "-m", "datalane.cli.main", "worker", "--app", "app:lane"]
        process = subprocess.Popen(command, cwd=ORDERS, env=self._environment, stderr=subprocess.PIPE)
        try:
            assert eventually(self._is_known, within=30)
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.communicate()

    def _is_known(self) -> bool:
        with psycopg.connect(self.urls.maintenance_url) as connection:
            connection.execute("SET ROLE datalane_definer")
            row = connection.execute("SELECT FROM datalane.event_handlers WHERE event_type = 'order.placed'").fetchone()
        return row is not None

    def order_status(self, workspace_id: UUID, order_id: str) -> str | None:
        """As the shop's own code would read it: through the door, on a driver of its own."""
        with psycopg.connect(self.urls.database_url) as connection:
            connection.execute("SET LOCAL ROLE datalane_app")
            connection.execute(f"SET LOCAL app.workspace_id = '{workspace_id}'".encode())
            row = connection.execute(
                "SELECT status FROM shop.orders WHERE workspace_id = %s AND order_id = %s", (workspace_id, order_id)
            ).fetchone()
        return None if row is None else str(row[0])

    def sent(self) -> list[str]:
        return self.outbox.read_text().splitlines() if self.outbox.exists() else []


@pytest.fixture
def shop(urls: Prepared, tmp_path: Path) -> Shop:
    made = Shop(urls, tmp_path)
    made.run("prepare")
    return made


def test_an_order_is_reserved_and_confirmed_once(shop: Shop) -> None:
    workspace, other = uuid7(), uuid7()
    with shop.worker():
        order_id = shop.run("place", str(workspace))
        assert eventually(lambda: len(shop.sent()) == 1, within=30)
    assert [line.partition(" ")[2] for line in shop.sent()] == [f"order {order_id}: 42.00"]
    assert shop.order_status(workspace, order_id) == "reserved"
    assert shop.order_status(other, order_id) is None, "the shop's own table stands behind the wall too"


def test_an_order_placed_while_no_worker_runs_is_served_by_the_next(shop: Shop) -> None:
    workspace = uuid7()
    with shop.worker():
        pass
    order_id = shop.run("place", str(workspace))
    assert shop.order_status(workspace, order_id) == "placed"
    with shop.worker():
        assert eventually(lambda: len(shop.sent()) == 1, within=30)
    assert shop.order_status(workspace, order_id) == "reserved"


# Other drivers ----------------------------------------------------------------------------------------------------


def shown(driver: str) -> dict[str, Any]:
    """What the docs' code for a driver defines."""
    text = (ROOT / "docs" / "how-to" / "other-drivers.md").read_text()
    block = re.search(rf"^## {driver}\n+```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    names: dict[str, Any] = {"__name__": "shown"}
    exec(compile(block[1], f"other-drivers.md, {driver}", "exec"), names)
    return names


def queued(urls: Prepared, job_id: UUID) -> tuple[object, ...] | None:
    with psycopg.connect(urls.operator_url) as connection:
        return connection.execute("SELECT workspace_id, kind FROM datalane.jobs WHERE id = %s", (job_id,)).fetchone()


def test_psycopg_enqueues_through_the_door_as_the_docs_show(urls: Prepared) -> None:
    code, workspace, actor = shown("psycopg"), uuid7(), uuid7()
    job_id = code["send_report"](urls.database_url, workspace, actor)
    assert queued(urls, job_id) == (workspace, "send_report")
    with psycopg.connect(urls.database_url) as connection:
        code["open_door"](connection, workspace, actor, "viewer", "a-request")
        with pytest.raises(psycopg.Error, match="the role may not do this") as refused:
            connection.execute("SELECT datalane.enqueue('send_report')")
        assert refused.value.sqlstate == "DL403"
    with psycopg.connect(urls.database_url) as connection, pytest.raises(ValueError):
        code["open_door"](connection, workspace, actor, "owner'; --", "a-request")


def test_sqlalchemy_enqueues_through_the_door_as_the_docs_show(urls: Prepared) -> None:
    workspace = uuid7()
    info = {"workspace_id": workspace, "actor_id": uuid7(), "role": "member", "correlation_id": "a-request"}
    code = shown("SQLAlchemy")
    job_id = code["send_report"](urls.database_url, info)
    assert queued(urls, job_id) == (workspace, "send_report")
    with pytest.raises(ValueError, match="drop"):
        code["send_report"](urls.database_url, {**info, "correlation_id": "'; drop"})

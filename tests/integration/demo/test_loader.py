"""The demo workspace can be loaded any number of times."""

from __future__ import annotations

from pathlib import Path

from datalane.contracts.context import Context
from datalane.db.provision import Prepared
from datalane.demo.loader import load_demo
from datalane.identity.accounts import sign_up
from datalane.identity.schemas import NewAccount
from datalane.knowledge.runtime import open_knowledge
from datalane.lane import Lane
from datalane.settings import Settings


async def stored(lane: Lane, context: Context, folder: Path) -> tuple[int, int]:
    """Documents of the workspace and files of the store."""
    async with lane.transaction(context) as tx:
        documents = await tx.fetchval("SELECT count(*) FROM datalane.documents")
    return documents, sum(1 for path in (folder / "files").rglob("*") if path.is_file())


async def test_a_second_load_changes_nothing(urls: Prepared, tmp_path: Path) -> None:
    settings, lane = Settings(home=tmp_path), Lane()
    async with lane.open(settings, urls.database_url), open_knowledge(settings) as knowledge:
        first = await load_demo(lane, knowledge)
        before = await stored(lane, Context.system(first.workspace_id), tmp_path)
        second = await load_demo(lane, knowledge)
        assert second == first
        assert before[0] == before[1] >= 6
        assert await stored(lane, Context.system(first.workspace_id), tmp_path) == before


async def test_an_address_that_is_taken_is_left_to_its_owner(urls: Prepared, tmp_path: Path) -> None:
    settings, lane = Settings(home=tmp_path), Lane()
    async with lane.open(settings, urls.database_url), open_knowledge(settings) as knowledge:
        account = NewAccount(email="demo@example.com", password="somebody else's words", name="Somebody")
        taken = await sign_up(lane.database, account, sessions=settings.sessions, correlation_id="test")
        made = await load_demo(lane, knowledge)
        assert made.email != "demo@example.com"
        assert made.workspace_id != taken.workspace_id

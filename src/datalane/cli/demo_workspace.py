"""The demo workspace of `datalane up --demo`: an account whose workspace holds documents, and its sign-in.

The password is made once per home folder, so a second `up --demo` shows the same sign-in.
"""

from __future__ import annotations

import asyncio

from datalane.db.home import Running
from datalane.demo.loader import SignIn, load_demo
from datalane.knowledge.runtime import open_knowledge
from datalane.lane import Lane
from datalane.settings import Settings

__all__ = ["SignIn", "load_demo_workspace"]


def load_demo_workspace(settings: Settings, running: Running) -> SignIn:
    """The sign-in of the demo workspace, which is made when it is not there; its documents are left to the workers."""
    return asyncio.run(_load(settings, running))


async def _load(settings: Settings, running: Running) -> SignIn:
    lane = Lane()
    async with open_knowledge(settings) as knowledge, lane.open(settings, running.prepared.database_url):
        account = await load_demo(lane, knowledge)
    return SignIn(account.email, account.password)

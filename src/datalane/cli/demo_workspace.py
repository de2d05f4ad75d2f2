"""The demo workspace of `datalane up --demo`: an account with a workspace, and its sign-in.

The password is made once per home folder, so a second `up --demo` shows the same sign-in.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

from datalane.db.database import Database
from datalane.db.home import Home, Running
from datalane.db.roles import Roles
from datalane.errors import Conflict, Unauthenticated
from datalane.identity.accounts import sign_in, sign_up
from datalane.identity.schemas import Credentials, NewAccount
from datalane.kit.ids import new_correlation_id
from datalane.settings import Settings

_EMAIL = "demo@example.com"


@dataclass(frozen=True, slots=True)
class SignIn:
    email: str
    password: str


def load_demo_workspace(settings: Settings, running: Running) -> SignIn:
    """The sign-in of the demo workspace, which is made when it is not there."""
    return asyncio.run(_load(settings, running))


async def _load(settings: Settings, running: Running) -> SignIn:
    home = Home(settings.home)
    roles = Roles(settings.role_prefix)
    database = await Database.connect(running.prepared.database_url, roles, size=2)
    try:
        known = home.remembered("demo.json", lambda: _new(_EMAIL), SignIn)
        if await _usable(database, settings, known):
            return known
        # The address has an account whose password this folder does not know, so the demo takes another address.
        other = _new(f"demo-{secrets.token_hex(3)}@example.com")
        home.remember("demo.json", other)
        await _usable(database, settings, other)
        return other
    finally:
        await database.close()


async def _usable(database: Database, settings: Settings, known: SignIn) -> bool:
    """Whether the account is there, made just now or before, and opens with this password."""
    account = NewAccount(email=known.email, password=known.password, name="Demo", workspace_name="Demo")
    try:
        await sign_up(database, account, sessions=settings.sessions, correlation_id=new_correlation_id())
    except Conflict:
        try:
            await sign_in(database, Credentials(email=known.email, password=known.password), sessions=settings.sessions)
        except Unauthenticated:
            return False
    return True


def _new(email: str) -> SignIn:
    return SignIn(email, secrets.token_urlsafe(12))

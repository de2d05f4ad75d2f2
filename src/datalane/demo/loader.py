"""The demo workspace of a lane that runs: an account, and the shipped documents for the workers to ingest."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from uuid import UUID

from datalane.db.home import Home
from datalane.demo.corpus import open_corpus
from datalane.demo.ingest import upload_corpus
from datalane.demo.people import Person
from datalane.errors import Conflict, Unauthenticated
from datalane.identity.accounts import sign_in, sign_up
from datalane.identity.schemas import Credentials, NewAccount, Session
from datalane.kit.ids import new_correlation_id
from datalane.knowledge.runtime import Knowledge
from datalane.lane import Lane

_EMAIL = "demo@example.com"


@dataclass(frozen=True, slots=True)
class SignIn:
    """What is kept in the home folder, so that a second start shows the same sign-in."""

    email: str
    password: str


@dataclass(frozen=True, slots=True)
class DemoAccount:
    email: str
    password: str
    workspace_id: UUID


async def load_demo(lane: Lane, knowledge: Knowledge) -> DemoAccount:
    """The account, made when it is not there, with the shipped documents uploaded; a second call changes nothing.

    Returns once the uploads are committed; the lane's workers ingest them.
    """
    home = Home(lane.settings.home)
    known = home.remembered("demo.json", lambda: _new(_EMAIL), SignIn)
    session = await _enter(lane, known)
    if session is None:
        # The address has an account whose password this folder does not know, so the demo takes another address.
        known = _new(f"demo-{secrets.token_hex(3)}@example.com")
        home.remember("demo.json", known)
        session = await _enter(lane, known)
    assert session is not None
    assert session.workspace_id is not None
    person = Person(session.user_id, session.workspace_id, session.token)
    await upload_corpus(lane, knowledge, person, open_corpus(None))
    return DemoAccount(known.email, known.password, session.workspace_id)


async def _enter(lane: Lane, known: SignIn) -> Session | None:
    """Signed in to the account, made just now or before; None when its password is another."""
    sessions = lane.settings.sessions
    account = NewAccount(email=known.email, password=known.password, name="Demo", workspace_name="Demo")
    try:
        return await sign_up(lane.database, account, sessions=sessions, correlation_id=new_correlation_id())
    except Conflict:
        pass
    try:
        return await sign_in(lane.database, Credentials(email=known.email, password=known.password), sessions=sessions)
    except Unauthenticated:
        return None


def _new(email: str) -> SignIn:
    return SignIn(email, secrets.token_urlsafe(12))

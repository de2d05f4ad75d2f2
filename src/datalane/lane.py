"""The lane: the library's one entry.

lane = Lane()

@lane.handlers.transactional("send_report")
async def send_report(tx, job): ...

async with lane.open(settings):
    async with lane.transaction(context) as tx:
        await publish(tx, "invoice.paid", {"invoice": 7})
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from datalane.access.analytics.tracked import TrackedEvent, TrackedEvents, register_tracked_events
from datalane.access.entitlements.plans import Plan, Plans, Quota, register_plans
from datalane.access.usage.enforcing import Usage
from datalane.agents.recorder import Agents
from datalane.agents.recorder.toolbox import Toolbox
from datalane.agents.safety.judging import Safety
from datalane.agents.safety.loading import follow_settings
from datalane.contracts.context import Context
from datalane.contracts.registry import EVENTS, EventType
from datalane.db.database import Database
from datalane.db.home import Home
from datalane.db.roles import Roles
from datalane.db.transaction import Transaction
from datalane.engine.actions import Actions
from datalane.engine.handlers import Handlers
from datalane.engine.registration import register
from datalane.engine.worker import Worker, WorkerSettings
from datalane.errors import ConfigurationError
from datalane.kit.contents import Redaction
from datalane.kit.cursors import Cursors
from datalane.kit.envelope import KeySource, MasterKeys
from datalane.kit.trace_mode import configure_tracing
from datalane.knowledge.moderation.suppressing import CitationSuppressor
from datalane.settings import Settings

if TYPE_CHECKING:
    from datalane.contracts.http import MakeRouter  # a worker serves nothing, and loads no web framework


class Lane:
    """Handlers and event types are registered when the application is imported; `open` connects."""

    def __init__(self) -> None:
        self.handlers = Handlers()
        self.actions = Actions()
        self.agents = Agents(self.transaction, Toolbox(), safety=Safety(citations=CitationSuppressor()))
        """Records runs of agents; its `tools` are the functions that they may call, and `moderate_with` names who
        judges what they are given and answer."""
        self.plans = Plans()
        self.usage = Usage(self)
        """Uses quotas of plans, in transactions of its own."""
        self.tracked = TrackedEvents()
        self.routers: list[MakeRouter] = []
        """The routes of the application, for `create_app` after the lane's own."""
        self._settings: Settings | None = None
        self._database: Database | None = None

    def configure(self, settings: Settings) -> None:
        """Give it the settings that it will be opened with, so that what needs no database can be made before."""
        self._settings = settings

    @asynccontextmanager
    async def open(self, settings: Settings, database_url: str | None = None) -> AsyncIterator[Lane]:
        """Connect for the time of the block. `database_url` overrides the settings' (an embedded server's URL).

        Event types and event handlers become known to the database, so that publishing needs no worker to have run.

        Raises `ConfigurationError` without a database, or when there is no key for cursors and the home folder cannot
        keep one, or for a moderator of agents that cannot be loaded or is one too many; `DatabaseUnavailable` when the
        database does not answer.
        """
        configure_tracing(settings.telemetry.traces)
        follow_settings(self.agents.safety, settings.agents)
        url = database_url or (settings.database_url and settings.database_url.get_secret_value())
        if not url:
            raise ConfigurationError("no database: start one with `datalane up`, or set DATALANE_DATABASE_URL")
        database = await Database.connect(
            url,
            Roles(settings.role_prefix),
            size=settings.pool_size,
            statement_cache_size=settings.statement_cache_size,
            limits=settings.limits,
            jobs=settings.jobs,
            cursors=Cursors(_cursor_key(settings).encode()),
            master_keys=master_keys_of(settings),
            redaction=redaction_of(settings),
        )
        self._settings, self._database = settings, database
        try:
            await register(database, {}, self.handlers.events, list(EVENTS))
            await register_plans(database, self.plans)
            await register_tracked_events(database, self.tracked)
            yield self
        finally:
            self._database = None
            await database.close()

    @property
    def settings(self) -> Settings:
        if self._settings is None:
            raise ConfigurationError("the lane has no settings; use `async with lane.open(settings)`")
        return self._settings

    @property
    def database(self) -> Database:
        if self._database is None:
            raise ConfigurationError("the lane is not open; use `async with lane.open(settings)`")
        return self._database

    def transaction(self, context: Context) -> AbstractAsyncContextManager[Transaction]:
        """The tenant door: everything inside commits together or not at all."""
        return self.database.transaction(context)

    def call(self, context: Context, statement: str, *arguments: Any) -> Coroutine[Any, Any, Any]:
        """A statement that states the tenant door by itself, in a transaction of its own and one round trip."""
        return self.database.call(context, statement, *arguments)

    def event(self, name: str, schema: Mapping[str, Any], version: int = 1) -> EventType:
        """Register an event type of the application with its JSON Schema."""
        return EVENTS.register(name, schema, version)

    def plan(
        self,
        plan_id: str,
        *,
        features: Sequence[str] = (),
        quotas: Mapping[str, Quota] | None = None,
        default: bool = False,
    ) -> Plan:
        """State a plan of the application. When it says something else than before, that is a new version of it. The
        `default` holds for workspaces that were given none. Raises `ConfigurationError`."""
        return self.plans.add(Plan(plan_id, tuple(features), dict(quotas or {}), default))

    def track(
        self, name: str, schema: Mapping[str, Any], *, version: int = 1, owner: str, description: str = ""
    ) -> TrackedEvent:
        """State an event of product analytics that is tracked in every workspace. A version never changes: another
        schema takes another one. Raises `ConfigurationError`."""
        return self.tracked.add(TrackedEvent(name, version, dict(schema), owner, description))

    def serve(self, make_router: MakeRouter) -> MakeRouter:
        """Serve routes of the application behind the same door. `make_router` receives it when the API starts."""
        self.routers.append(make_router)
        return make_router

    def worker(self, settings: WorkerSettings | None = None) -> Worker:
        """A worker for this lane's handlers."""
        return Worker(self.database, self.handlers, settings or WorkerSettings(jobs=self.settings.jobs))


def master_keys_of(settings: Settings) -> KeySource:
    """Those of the settings. A lane that brings its own Postgres keeps one beside it, made on first use; for a database
    of yours there is none unless it is set, as a key that one machine keeps would be lost with it."""

    @cache
    def read() -> MasterKeys | None:
        before = [key.get_secret_value() for key in settings.master_keys_before]
        if settings.master_key is not None:
            return MasterKeys(settings.master_key.get_secret_value(), before)
        return MasterKeys(Home(settings.home).secret("master_key"), before) if settings.embedded else None

    return read


def redaction_of(settings: Settings) -> Redaction:
    """What is cut out of contents of agents before they are stored."""
    return Redaction(settings.agents.redaction.names, settings.agents.redaction.detect)


def _cursor_key(settings: Settings) -> str:
    """That of the settings, else one that all processes of the home folder share, made on first use."""
    if settings.cursor_key:
        return settings.cursor_key.get_secret_value()
    try:
        return Home(settings.home).secret("cursor_key")
    except ConfigurationError as error:
        raise ConfigurationError(f"no key for the cursors of lists: {error}; or set DATALANE_CURSOR_KEY") from error


async def run_worker(lane: Lane, stop: asyncio.Event, ready: asyncio.Event | None = None) -> None:
    """Work until `stop` is set."""
    await lane.worker().run(stop, ready)

"""Who may tell of access by events and webhooks: who has signed it, whoever handed it on."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import orjson
import pytest
from pydantic import SecretStr, ValidationError
from tests.integration.access.lifecycle.telling import DAY, a_signal, state, tell
from tests.integration.engine.lab import eventually
from tests.integration.engine.workers import ended, quick, working
from tests.integration.integrations.automation.conftest import Notes, Shop

from datalane.access.lifecycle.actions import SignedSignal, register_actions
from datalane.access.lifecycle.handlers import SIGNALED, register
from datalane.access.lifecycle.schemas import NewSignal
from datalane.access.lifecycle.service import list_signals
from datalane.access.lifecycle.signing import SignedSignals, sign
from datalane.contracts.context import Context, Role
from datalane.contracts.registry import EVENTS
from datalane.db.database import Database
from datalane.engine.actions import ActionCall, Actions
from datalane.engine.events import NewEvent, publish_batch
from datalane.engine.handlers import Handlers
from datalane.engine.registration import register as make_known
from datalane.errors import Forbidden, InvalidInput
from datalane.integrations.runtime import make_integrations
from datalane.kit.clock import utc_now
from datalane.kit.standard_webhooks import make_private_key, make_shared_secret, read_signer
from datalane.settings import AccessSettings, AccessSource, Settings

pytestmark = [pytest.mark.one_database, pytest.mark.usefixtures("plans")]

SECRET, PRIVATE = make_shared_secret(), make_private_key()
PUBLIC = read_signer(PRIVATE).public  # type: ignore[union-attr]


def source(name: str, *keys: str) -> AccessSource:
    return AccessSource(name=name, keys=tuple(SecretStr(key) for key in keys))


SIGNALS = SignedSignals([source("billing", SECRET), source("crm", make_shared_secret(), PUBLIC)])
NOBODY = SignedSignals([])


def now_signal(signal: str = "activate", **said: Any) -> NewSignal:
    return a_signal(signal, utc_now(), f"e{uuid4().hex}", **said)


@asynccontextmanager
async def listening(database: Database, signals: SignedSignals = SIGNALS) -> AsyncIterator[None]:
    """A worker that takes signed signals."""
    handlers = Handlers()
    register(handlers, signals)
    await make_known(database, dict.fromkeys(handlers.kinds), handlers.events, list(EVENTS))
    async with working(database, handlers, quick()):
        yield


async def job_of(database: Database, context: Context) -> Any:
    async with database.transaction(context) as tx:
        return await tx.fetchval(
            "SELECT id FROM (SELECT id, workspace_id, kind FROM datalane.jobs UNION ALL"
            " SELECT id, workspace_id, kind FROM datalane.job_history) AS j WHERE j.workspace_id = $1 AND j.kind = $2"
            " ORDER BY id DESC LIMIT 1",
            tx.workspace_id,
            f"on:{SIGNALED}",
        )


async def published(
    database: Database, context: Context, signed: str, *, signals: SignedSignals = SIGNALS, **said: Any
) -> tuple[str, str | None]:
    """What became of the job that follows from the event that somebody publishes: its status and its error."""
    async with listening(database, signals):
        async with database.transaction(context) as tx:
            event = NewEvent(SIGNALED, {"signed": signed}, **{"source_system": "billing", **said})
            await publish_batch(tx, [event], signature_verified=True)
        [job] = await ended(database, context, [await job_of(database, context)], "completed", "failed", "dead_letter")
    return job.status, job.last_error_class


async def test_a_signed_signal_counts_whoever_publishes_it(database: Database, context: Context) -> None:
    signal = now_signal(ends_at=utc_now() + DAY)
    signed = sign(signal, context.workspace_id, read_signer(SECRET))
    assert await published(database, context, signed) == ("completed", None)
    assert await state(database, context, utc_now()) == "active"


async def test_a_public_key_is_enough_to_trust(database: Database, context: Context) -> None:
    signal = now_signal(source_system="crm")
    signed = sign(signal, context.workspace_id, read_signer(PRIVATE))
    assert await published(database, context, signed) == ("completed", None)
    assert await state(database, context, utc_now()) == "active"


@pytest.mark.parametrize("role", [Role.MEMBER, Role.ADMIN, Role.OWNER])
async def test_who_says_to_be_a_verified_source_is_not_believed(
    database: Database, context: Context, role: Role
) -> None:
    """The intruder publishes in the source's name, says that a signature was verified, and signs by own means."""
    intruder = Context(context.workspace_id, context.actor_id, role)
    signed = sign(now_signal(), context.workspace_id, read_signer(make_shared_secret()))
    status, error = await published(database, intruder, signed, source_event_id=uuid4().hex)
    assert (status, error) == ("failed", "forbidden")
    assert await state(database, context, utc_now()) == "pending"


async def test_nobody_is_trusted_by_default(database: Database, context: Context) -> None:
    signed = sign(now_signal(), context.workspace_id, read_signer(SECRET))
    assert await published(database, context, signed, signals=NOBODY) == ("failed", "forbidden")
    assert await state(database, context, utc_now()) == "pending"


async def test_a_job_about_a_forged_event_gives_nothing(database: Database, context: Context) -> None:
    """A member cannot enqueue one, and one that was enqueued all the same does what is due and no more."""
    system = Context.system(context.workspace_id)
    async with listening(database):
        async with database.transaction(context) as tx:
            forged = await tx.fetchval(
                "SELECT event_id FROM datalane.publish_event('item.created', $1, source_system => 'billing',"
                " signature_verified => true)",
                {"item_id": "1", "version": 1, "signed": sign(now_signal(), uuid4(), read_signer(SECRET))},
            )
        kinds = {
            f"on:{SIGNALED}": {"event_id": str(forged), "signed": "x"},
            "access.settle": {},
            "access.reconcile": {},
        }
        for kind, args in kinds.items():
            with pytest.raises(Forbidden):
                async with database.transaction(context) as tx:
                    await tx.fetchval("SELECT datalane.enqueue($1, $2)", kind, args)
            async with database.transaction(system) as tx:
                job = await tx.fetchval("SELECT datalane.enqueue($1, $2)", kind, args)
            await ended(database, context, [job])
    assert await state(database, context, utc_now()) == "pending"


def forged(header: dict[str, Any], claims: dict[str, Any], signature: bytes = b"") -> str:
    parts = (orjson.dumps(header), orjson.dumps(claims), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def claims_of(workspace_id: Any, **said: Any) -> dict[str, Any]:
    access = now_signal().model_dump(mode="json", include={"signal", "occurred_at", "plan_id"})
    return {
        "iss": "billing",
        "sub": str(workspace_id),
        "aud": "datalane:access",
        "jti": "e1",
        "access": access,
        **said,
    }


def test_what_is_not_signed_by_the_source_for_this_workspace_is_refused() -> None:
    here, key = uuid4(), read_signer(SECRET)
    good = sign(now_signal(), here, key)
    assert SIGNALS.read(good, here).signal == "activate"
    header, body, signature = good.split(".")
    public = read_signer("whsec_" + PUBLIC.removeprefix("whpk_"))  # the public key as if it were a secret
    refused = [
        sign(now_signal(), uuid4(), key),
        sign(now_signal(source_system="crm"), here, key),
        sign(now_signal(source_system="unheard-of"), here, key),
        sign(now_signal(source_system="crm"), here, public),
        sign(now_signal(source_system="operator"), here, key),
        forged({"alg": "none"}, claims_of(here)),
        forged({"alg": "HS256"}, claims_of(here)),
        forged({"alg": "HS256"}, claims_of(here), b"\0" * 32),
        f"{header}.{body}.",
        f"{header}.{body}",
        f"{header}.{body}.{signature[:-4]}AAAA",
        f"{header}.{signature}.{signature}",
        "",
        "....",
        "x" * 10_000,
        f"{header}.{base64.urlsafe_b64encode(b'[' * 5_000).decode()}.{signature}",
        f"{header}.{base64.urlsafe_b64encode(b'[1]').rstrip(b'=').decode()}.{signature}",
    ]
    for signed in refused:
        with pytest.raises(Forbidden):
            SIGNALS.read(signed, here)


@pytest.mark.parametrize(
    "said",
    [
        {"access": None},
        {"access": {"signal": "correct", "occurred_at": "2031-01-01T00:00:00Z", "state": "active"}},
        {"access": {"signal": "activate", "occurred_at": "2031-01-01T00:00:00Z", "plan_id": "pro", "told_by": "me"}},
        {"access": {"signal": "activate", "occurred_at": "never", "plan_id": "pro"}},
        {
            "access": {
                "signal": "activate",
                "occurred_at": "2031-01-01T00:00:00Z",
                "plan_id": "pro",
                "source_system": "crm",
            }
        },
        {"jti": None},
        {"jti": 7},
    ],
)
def test_what_is_signed_and_no_signal_is_told_apart(said: dict[str, Any]) -> None:
    here = uuid4()
    key = read_signer(SECRET)
    message = forged({"alg": "HS256"}, claims_of(here, **said)).rpartition(".")[0]
    signature = base64.urlsafe_b64encode(key.sign(message.encode())).rstrip(b"=").decode()
    with pytest.raises(InvalidInput):
        SIGNALS.read(f"{message}.{signature}", here)


def test_a_claim_said_twice_or_for_another_audience_is_refused() -> None:
    here, key = uuid4(), read_signer(SECRET)
    body = orjson.dumps(claims_of(uuid4()))[:-1] + b',"sub":"' + str(here).encode() + b'"}'
    for raw in (body, orjson.dumps(claims_of(here, aud="another"))):
        head = base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"=").decode()
        message = f"{head}.{base64.urlsafe_b64encode(raw).rstrip(b'=').decode()}"
        signature = base64.urlsafe_b64encode(key.sign(message.encode())).rstrip(b"=").decode()
        with pytest.raises(Forbidden):
            SIGNALS.read(f"{message}.{signature}", here)


async def test_a_rule_hands_a_signed_signal_on_and_no_other(database: Database, context: Context) -> None:
    actions = Actions()
    register_actions(actions, SIGNALS)
    action, call = actions.get("access.signal"), ActionCall(uuid4(), 0, uuid4())
    acting = Context.system(context.workspace_id)
    good = sign(now_signal(), context.workspace_id, read_signer(SECRET))
    for signed in (sign(now_signal(), context.workspace_id, read_signer(make_shared_secret())), "x"):
        with pytest.raises(Forbidden):
            async with database.transaction(acting) as tx:
                await action.run(tx, SignedSignal(signed=signed), call)
    assert await state(database, context, utc_now()) == "pending"
    for receipt in ("accepted", "duplicate"):
        async with database.transaction(acting) as tx:
            assert (await action.run(tx, SignedSignal(signed=good), call))["receipt"] == receipt
    assert await state(database, context, utc_now()) == "active"


async def test_a_webhook_of_a_source_comes_through_by_a_rule(database: Database, context: Context) -> None:
    actions = Actions()
    register_actions(actions, SIGNALS)
    integrations = make_integrations(Settings(), actions)
    await make_known(database, {}, [], list(EVENTS))
    admin = Context(context.workspace_id, context.actor_id, Role.ADMIN)
    shop = Shop(database, integrations, admin, Notes())
    handing_on = {"signed": {"cel": "event.payload.body.signed"}}
    await shop.rule(("access.signal", handing_on), event_type="webhook.received")
    webhook = {"connector_id": str(uuid4()), "kind": "billing", "delivery_id": "d1", "type": None}
    strangers = sign(now_signal(), context.workspace_id, read_signer(make_shared_secret()))
    good = sign(now_signal(), context.workspace_id, read_signer(SECRET))

    async def has_come() -> bool:
        return await state(database, context, utc_now()) == "active"

    async with shop.working():
        for signed in (strangers, good):
            async with database.transaction(admin) as tx:
                event = NewEvent("webhook.received", {**webhook, "body": {"signed": signed}}, source_system="x")
                await publish_batch(tx, [event], signature_verified=True)
        await eventually(has_come)
    await integrations.aclose()
    async with database.transaction(Context.system(context.workspace_id)) as tx:
        assert [each.source_system for each in await list_signals(tx)] == ["billing"]


async def test_a_signed_signal_and_one_of_the_operator_with_its_id_are_one(
    database: Database, operator: Context, context: Context
) -> None:
    """A lost event is told by hand; when it comes at last, it has no effect any more."""
    signal = now_signal()
    await tell(database, operator, signal, now=utc_now())
    signed = sign(signal, context.workspace_id, read_signer(SECRET))
    assert (await published(database, context, signed))[0] == "completed"
    async with database.transaction(context) as tx:
        assert (
            await tx.fetchval("SELECT count(*) FROM datalane.access_signals WHERE workspace_id = $1", tx.workspace_id)
            == 1
        )


async def test_what_failed_for_want_of_a_key_is_taken_up_once_the_key_is_there(
    database: Database, context: Context
) -> None:
    signed = sign(now_signal(), context.workspace_id, read_signer(SECRET))
    assert (await published(database, context, signed, signals=NOBODY))[0] == "failed"
    job = await job_of(database, context)
    async with listening(database):
        async with database.transaction(Context.system(context.workspace_id)) as tx:
            await tx.fetchval("SELECT datalane.retry_jobs(ARRAY[$1::uuid])", job)
        await ended(database, context, [job])
    assert await state(database, context, utc_now()) == "active"


def billing(*keys: str) -> dict[str, Any]:
    return {"name": "billing", "keys": keys}


def json_of(*sources: dict[str, Any]) -> str:
    """As the variable is written."""
    return orjson.dumps(sources).decode()


@pytest.mark.parametrize(
    "sources",
    [
        json_of({**billing(SECRET), "name": "operator"}),
        json_of(billing()),
        json_of(billing("secret")),
        json_of(billing(PRIVATE)),
        json_of({**billing(SECRET), "name": "Bill ing"}),
        json_of(billing(SECRET), billing(PUBLIC)),
        json_of({**billing(SECRET), "trust": True}),
        "billing",
    ],
    ids=["operator", "no key", "no key either", "private", "spaced", "twice", "unknown field", "no JSON"],
)
def test_sources_that_cannot_be_trusted_stop_the_start(sources: str) -> None:
    with pytest.raises(ValidationError) as refused:
        AccessSettings.model_validate({"sources": sources})
    assert SECRET not in str(refused.value.errors(include_input=False))


def test_keys_of_sources_are_not_shown() -> None:
    read = AccessSettings.model_validate({"sources": json_of(billing(SECRET))})
    assert SECRET not in repr(read)
    assert read.sources[0].keys[0].get_secret_value() == SECRET

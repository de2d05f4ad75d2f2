"""Requests to the routes of connectors, webhooks, events, rules and notifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datalane.ops.isolation.route_seed import Build, Seed
from datalane.ops.isolation.route_table import Call
from datalane.ops.isolation.route_world import HOME, NEEDED, SEEN, Actor, World, create_item_of, signed_webhook


def integration_seeds() -> Mapping[str, Sequence[Seed]]:
    return {
        **_automation(),
        **_events(),
        **_inbound(),
        **_connectors(),
        **_notifications(),
        **_webhooks(),
    }


def _event(world: World, actor: Actor) -> Call:
    return Call(body={"event_type": SEEN, "payload": {"of": HOME}, "source_event_id": HOME})


def _events() -> Mapping[str, Sequence[Seed]]:
    def batch(world: World, actor: Actor) -> Call:
        return Call(body={"events": [_event(world, actor).body]})

    return {
        "POST /automation/events/publish": [Seed(_event)],
        "POST /automation/events/publish-batch": [Seed(batch)],
    }


def _connectors() -> Mapping[str, Sequence[Seed]]:
    """The one that is there has its first credentials. Whoever sees the other workspace's finds the name in use."""

    def of(world: World, **said: Any) -> Call:
        return Call(body={"connector_id": world.home.things["connector_id"], **said})

    said = {"kind": "owls", "credentials": {"token": f"The token of {HOME}"}}
    seen = {"outcome": "expired", "observed_at": "2026-01-01T00:00:00Z"}
    changed = {"credential_version": 1, "credentials": {"token": f"Another token of {HOME}"}}
    return {
        "POST /integrations/connectors/register": [Seed(lambda world, actor: Call(body={"name": NEEDED, **said}))],
        "POST /integrations/connectors/health": [Seed(lambda world, actor: of(world, **seen))],
        "POST /integrations/connectors/rotate": [Seed(lambda world, actor: of(world, **changed))],
        "GET /integrations/connectors/history/list": [
            Seed(lambda world, actor: Call(), "of all"),
            Seed(lambda world, actor: Call(query=of(world).body), "of one"),
        ],
    }


def _notifications() -> Mapping[str, Sequence[Seed]]:
    """Everybody reads what they were told themselves; a key is told nothing."""

    def own(world: World, actor: Actor) -> str:
        return world.notifications.get(actor.name) or world.home.things["notification_id"]

    def wishes(world: World, actor: Actor) -> Call:
        return Call(body={"preferences": [{"category": "jobs", "channel": "email", "wanted": False}]})

    return {
        "GET /notifications/preferences": [Seed(lambda world, actor: Call(), keys="refused")],
        "POST /notifications/preferences/update": [Seed(wishes, keys="refused")],
        "POST /notifications/preferences/defaults": [Seed(wishes)],
        "GET /notifications/list": [Seed(lambda world, actor: Call(), keys="refused")],
        "POST /notifications/read": [
            Seed(lambda world, actor: Call(body={"notification_ids": [own(world, actor)]}), "by id", keys="refused"),
            Seed(lambda world, actor: Call(body={"up_to": own(world, actor)}), "up to one", keys="refused"),
        ],
        "GET /notifications/{notification_id}": [
            Seed(lambda world, actor: Call(path={"notification_id": own(world, actor)}), keys="refused")
        ],
    }


def _automation() -> Mapping[str, Sequence[Seed]]:
    """Rules and their runs. Whoever sees the other workspace finds the name in use."""
    said = {"actions": [create_item_of(HOME)]}

    def of(name: str, **said: Any) -> Build:
        return lambda world, actor: Call(body={"rule_id": world.home.things[name], **said})

    def tried(world: World, actor: Actor, **rule: Any) -> Call:
        return Call(body={"event_id": world.home.things["event_id"], **rule})

    def runs(world: World, actor: Actor) -> Call:
        return Call(query={name: world.home.things[name] for name in ("rule_id", "event_id")})

    return {
        "POST /automation/rules/create": [
            Seed(lambda world, actor: Call(body={"name": NEEDED, "event_type": SEEN, **said}))
        ],
        "POST /automation/rules/publish": [Seed(of("rule_id", **said))],
        "POST /automation/rules/enable": [Seed(of("disabled_rule_id"))],
        "POST /automation/rules/disable": [Seed(of("rule_id", reason=f"A reason of {HOME}."))],
        "POST /automation/rules/dry-run": [
            Seed(lambda world, actor: tried(world, actor, rule_id=world.home.things["rule_id"]), "of a rule"),
            Seed(lambda world, actor: tried(world, actor, rule=said), "of one that is not kept"),
        ],
        "POST /automation/switch": [
            Seed(lambda world, actor: Call(body={"enabled": False, "reason": f"A reason of {HOME}."}))
        ],
        "GET /automation/runs": [Seed(lambda world, actor: Call(query={})), Seed(runs, "of a rule and an event")],
        "GET /automation/runs/{run_id}": [
            Seed(lambda world, actor: Call(path={"run_id": world.home.things["automation_run_id"]}))
        ],
        "POST /automation/runs/replay": [
            Seed(lambda world, actor: Call(body={"ids": [world.home.things["automation_run_id"]]}), "by id"),
            Seed(lambda world, actor: Call(body={"where": {"status": "failed"}}), "all that failed"),
        ],
    }


def _webhooks() -> Mapping[str, Sequence[Seed]]:
    """The endpoint that is there is in its first version; nobody listens at it."""

    def of(world: World, **said: Any) -> Call:
        return Call(body={"endpoint_id": world.home.things["endpoint_id"], **said})

    url = f"http://127.0.0.1:9/{HOME}"
    return {
        "POST /webhooks/endpoints/create": [Seed(lambda world, actor: Call(body={"url": url, "event_types": ["*"]}))],
        "POST /webhooks/endpoints/update": [
            Seed(lambda world, actor: of(world, version=1, description=f"Another of {HOME}")),
            Seed(lambda world, actor: of(world, version=1, event_types=["*"]), "other types"),
        ],
        "POST /webhooks/outbound/enqueue": [
            Seed(lambda world, actor: of(world, event_type=SEEN, payload={"of": HOME}))
        ],
        "POST /webhooks/outbound/replay": [
            Seed(lambda world, actor: Call(body={"ids": [world.home.things["dead_delivery_id"]]}), "by id"),
            Seed(lambda world, actor: Call(body={"where": {"event_type": SEEN}}), "many"),
        ],
    }


def _inbound() -> Mapping[str, Sequence[Seed]]:
    """Anybody may bring what the connected system signed, as `signed_webhook` has it."""

    def come(world: World, actor: Actor) -> Call:
        body, headers = signed_webhook(HOME)
        return Call(path={"connector": world.home.inbound_token}, body=body, headers=headers)

    def opened(world: World, actor: Actor) -> Call:
        return Call(body={"connector_id": world.home.things["connector_id"], "preset": "github", "secrets": ["token"]})

    return {
        "POST /webhooks/inbound/{connector}": [Seed(come, writes_to=frozenset({HOME}))],
        "POST /integrations/inbound/open": [Seed(opened)],
    }

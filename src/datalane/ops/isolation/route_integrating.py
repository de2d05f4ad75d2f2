"""Connectors, webhooks, rules and notifications in the world of the route proof."""

from __future__ import annotations

from uuid import UUID

from datalane.kit.ids import uuid7
from datalane.ops.isolation.route_maker import Maker, ids_in
from datalane.ops.isolation.route_table import Call
from datalane.ops.isolation.route_world import (
    NEEDED,
    OTHER,
    SEEN,
    Person,
    Space,
    create_item_of,
    signed_webhook,
    token_of,
)


class IntegrationsMaker(Maker):
    async def add_connectors(self, space: Space) -> None:
        """Two, of which the one in `things` is the second; what the other workspace calls its first one is `NEEDED`."""
        for name in (NEEDED if space.word == OTHER else f"First of {space.word}", f"Second of {space.word}"):
            said = {"name": name, "kind": "owls", "credentials": {"token": token_of(space.word)}}
            made = await self.make(space, "POST /integrations/connectors/register", Call(body=said))
            space.things.update(ids_in(made))
            if made:
                await self._inbound(space)

    async def _inbound(self, space: Space) -> None:
        """Webhooks of the connector: two that are held, as the same bytes came before them."""
        said = {"connector_id": space.things["connector_id"], "preset": "github", "secrets": ["token"]}
        opened = await self.make(space, "POST /integrations/inbound/open", Call(body=said))
        if not opened:
            return
        space.inbound_token = opened["path"].rpartition("/")[2]
        for delivery in ("early", "second", "third"):
            body, headers = signed_webhook(space.word, delivery)
            come = Call(path={"connector": space.inbound_token}, body=body, headers=headers)
            await self.make(space, "POST /webhooks/inbound/{connector}", come)
        held = await self.make(space, "GET /integrations/inbound/held/list", Call())
        if held:
            space.things["held_id"] = held["data"][0]["held_id"]

    async def add_webhooks(self, space: Space) -> None:
        """Two endpoints at which nobody listens, a delivery that waits and one that is a dead letter."""
        target = {"url": f"http://127.0.0.1:9/{space.word}", "event_types": [SEEN], "description": f"Of {space.word}"}
        for _ in range(2):
            made = await self.make(space, "POST /webhooks/endpoints/create", Call(body=target))
            if made is None:
                return
            space.things["endpoint_id"] = made["endpoint"]["endpoint_id"]
        message = {"endpoint_id": made["endpoint"]["endpoint_id"], "event_type": SEEN, "payload": {"of": space.word}}
        for name in ("dead_delivery_id", "delivery_id"):
            queued = await self.make(space, "POST /webhooks/outbound/enqueue", Call(body=message))
            space.things[name] = queued["delivery_id"]
        await self.asker.ledger.connection.execute(
            "UPDATE datalane.webhook_deliveries SET status = 'dead_letter', ended_at = clock_timestamp() "
            "WHERE delivery_id = $1",
            UUID(space.things["dead_delivery_id"]),
        )

    async def add_automation(self, space: Space) -> None:
        """A stored event, a rule that is enabled and one that is not, a run of each that failed, and a switch that was
        moved. Nothing here publishes what they wait for."""
        seen = {"event_type": SEEN, "payload": {"of": space.word}}
        space.things.update(ids_in(await self.make(space, "POST /automation/events/publish", Call(body=seen))))
        name = NEEDED if space.word == OTHER else f"A rule of {space.word}"
        for said, thing, run in (
            ({"name": name}, "rule_id", "automation_run_id"),
            ({"name": f"Another {name}", "enabled": False}, "disabled_rule_id", "other_automation_run_id"),
        ):
            rule = {"event_type": "job.dead_lettered", "actions": [create_item_of(space.word)], **said}
            made = await self.make(space, "POST /automation/rules/create", Call(body=rule))
            if made is None:
                continue
            space.things |= {thing: made["rule_id"], run: str(uuid7())}
            await self.asker.ledger.connection.execute(
                "INSERT INTO datalane.automation_runs (workspace_id, event_id, rule_id, rule_version, run_id, "
                "event_type, status, error_class, error_message, job_id, attempt_count, actor_id, correlation_id, "
                "causation_depth, created_at, started_at, ended_at) VALUES ($1, $2, $3, 1, $4, 'job.dead_lettered', "
                "'failed', 'invalid_input', $5, $6, 1, $7, 'proof', 0, clock_timestamp(), clock_timestamp(), "
                "clock_timestamp())",
                *(space.workspace_id, UUID(space.things["event_id"]), UUID(space.things[thing])),
                *(UUID(space.things[run]), f"Nothing of {space.word}.", uuid7(), space.owner.user_id),
            )
        moved = {"enabled": True, "reason": f"Switched on by {space.word}."}
        await self.make(space, "POST /automation/switch", Call(body=moved))

    async def add_notifications(self, space: Space) -> None:
        """Two of the owner's, one as `notification_id`, with their deliveries, and what the other workspace wants."""
        for _ in range(2):
            space.things["notification_id"] = await self.notification(space, space.owner)
            await self._delivery(space, space.things["notification_id"])
        if space.word == OTHER and space.things["notification_id"]:
            await self.asker.ledger.connection.execute(
                "INSERT INTO datalane.notification_defaults (workspace_id, updated_by_actor_id, category, channel, "
                "wanted, updated_at) VALUES ($1, $2, 'membership', 'webhook', true, clock_timestamp())",
                *(space.workspace_id, space.owner.user_id),
            )

    async def _delivery(self, space: Space, notification_id: str) -> None:
        if notification_id:
            await self.asker.ledger.connection.execute(
                "INSERT INTO datalane.notification_deliveries (workspace_id, notification_id, channel, user_id, "
                "category, status, reason, created_at, updated_at) "
                "VALUES ($1, $2, 'email', $3, 'jobs', 'skipped', $4, clock_timestamp(), clock_timestamp())",
                *(space.workspace_id, UUID(notification_id), space.owner.user_id, f"As {space.word} wants it"),
            )

    async def notifications_of_outsider(self, space: Space, person: Person) -> str:
        """What somebody who is in another workspace was told, and wants, in this one: who sees their own in all
        workspaces finds it, and who is let in by mistake."""
        notification_id = await self.notification(space, person)
        if notification_id:
            await self.asker.ledger.connection.execute(
                "INSERT INTO datalane.notification_preferences (workspace_id, actor_id, category, channel, wanted, "
                "updated_at) VALUES ($1, $2, 'automation', 'webhook', true, clock_timestamp())",
                *(space.workspace_id, person.user_id),
            )
        return notification_id

    async def notification(self, space: Space, person: Person) -> str:
        """The id of what only one was told; none where there are no notifications."""
        if "GET /notifications/list" not in self.routes:
            return ""
        notification_id = uuid7()
        await self.asker.ledger.connection.execute(
            "INSERT INTO datalane.notifications (workspace_id, notification_id, actor_id, category, title, body, "
            "in_app, created_at, correlation_id) VALUES ($1, $2, $3, 'jobs', $4, $4, true, clock_timestamp(), 'proof')",
            *(space.workspace_id, notification_id, person.user_id, f"Told in {space.word}"),
        )
        return str(notification_id)

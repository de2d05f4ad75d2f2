"""What integrations and automation need while the process runs: the guard in front of what tenants name."""

from __future__ import annotations

from dataclasses import dataclass

from datalane.db.database import Database
from datalane.engine.actions import Actions
from datalane.engine.handlers import Handlers
from datalane.integrations.automation.conditions import Conditions
from datalane.integrations.automation.execution import Execution
from datalane.integrations.automation.publishing import Publishing
from datalane.integrations.automation.service import pause_for_connector as pause_rules
from datalane.integrations.connectors.calls import call_action, register_calls
from datalane.integrations.connectors.dependents import Dependents
from datalane.integrations.inbound.service import pause_inbound
from datalane.integrations.notifications import handlers as notification_handlers
from datalane.integrations.notifications.actions import NOTIFY_ACTION
from datalane.integrations.notifications.delivering import Delivering
from datalane.integrations.notifications.mail import Mailer
from datalane.integrations.webhooks.endpoints.service import pause_for_connector as pause_endpoints
from datalane.integrations.webhooks.runtime import Webhooks
from datalane.kit.outbound import Outbound
from datalane.settings import Limits, Settings


@dataclass(frozen=True, slots=True)
class Integrations:
    """`actions` are what rules may do; each domain has added its own. `conditions` starts its children when they are
    first needed. `dependents` stop when a connector is revoked. `mailer` is off without a mail server."""

    outbound: Outbound
    actions: Actions
    dependents: Dependents
    conditions: Conditions
    webhooks: Webhooks
    mailer: Mailer
    limits: Limits

    @property
    def publishing(self) -> Publishing:
        return Publishing(self.conditions, self.actions, self.limits)

    def register(self, handlers: Handlers, database: Database) -> None:
        """Add the handlers of the jobs of integrations."""
        register_calls(handlers, database, self.outbound, self.dependents)
        Execution(database, self.conditions, self.actions).register(handlers)
        self.webhooks.register(handlers, database)
        Delivering(database, self.mailer).register(handlers)
        notification_handlers.register(handlers)

    async def aclose(self) -> None:
        """End what was started."""
        await self.conditions.aclose()
        await self.webhooks.aclose()


def make_integrations(settings: Settings, actions: Actions) -> Integrations:
    """It starts nothing yet."""
    for action in (call_action(), NOTIFY_ACTION):
        actions.add(action)
    outbound, dependents = Outbound(settings.outbound.allowed, settings.outbound.timeout), Dependents()
    dependents.add("automation_rule", pause_rules)
    dependents.add("webhook_endpoint", pause_endpoints)
    dependents.add("inbound_webhook", pause_inbound)
    return Integrations(
        outbound=outbound,
        actions=actions,
        dependents=dependents,
        conditions=Conditions(settings.automation, settings.limits),
        webhooks=Webhooks(outbound, settings.webhooks, actions),
        mailer=Mailer(settings.email),
        limits=settings.limits,
    )

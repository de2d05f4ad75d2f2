"""What may be done with integrations and automation, and by whom."""

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role

# Connectors
READ_CONNECTORS = MATRIX.allow(
    Role.VIEWER, "connector.read", needs=["datalane.connectors:select", "datalane.connector_history:select"]
)
MANAGE_CONNECTORS = MATRIX.allow(
    Role.ADMIN,
    "connector.change",
    needs=["datalane.connectors:insert", "datalane.connectors:update", "datalane.connector_history:insert"],
)
REPORT_HEALTH = MATRIX.allow(
    Role.ADMIN, "connector.report", needs=["datalane.connectors:update", "datalane.connector_history:insert"]
)

# Notifications
_DELIVERING = ("read_notification_deliveries", "move_notification_deliveries")

NOTIFY = MATRIX.allow(Role.MEMBER, "notification.send", needs=["datalane.add_notifications"])
READ_NOTIFICATIONS = MATRIX.allow(
    Role.VIEWER,
    "notification.read",
    needs=["datalane.notifications:select", "datalane.notifications:update"],
)
READ_NOTIFICATION_DEFAULTS = MATRIX.allow(
    Role.VIEWER, "notification.read_defaults", needs=["datalane.notification_defaults:select"]
)
KEEP_NOTIFICATION_PREFERENCES = MATRIX.allow(
    Role.VIEWER,
    "notification.keep_preferences",
    needs=[f"datalane.notification_preferences:{command}" for command in ("select", "insert", "update", "delete")],
)
SET_NOTIFICATION_DEFAULTS = MATRIX.allow(
    Role.ADMIN,
    "notification.set_defaults",
    needs=[f"datalane.notification_defaults:{command}" for command in ("insert", "update", "delete")],
)
READ_NOTIFICATION_DELIVERIES = MATRIX.allow(
    Role.ADMIN, "notification.read_deliveries", needs=["datalane.list_notification_deliveries"]
)
# For the jobs that send: they read addresses and texts of others.
DELIVER_NOTIFICATIONS = MATRIX.allow(
    Role.OWNER, "notification.deliver", needs=[f"datalane.{verb}" for verb in _DELIVERING]
)

# Automation
READ_AUTOMATION = MATRIX.allow(
    Role.VIEWER,
    "automation.read",
    needs=[
        f"datalane.{table}:select"
        for table in ("automation_rules", "automation_rule_versions", "automation_switches", "automation_runs")
    ],
)
# A rule acts as the lane itself, for everybody in the workspace.
MANAGE_RULES = MATRIX.allow(
    Role.ADMIN,
    "automation.manage",
    needs=[
        "datalane.automation_rules:insert",
        "datalane.automation_rules:update",
        "datalane.automation_rule_versions:insert",
    ],
)
SWITCH_AUTOMATION = MATRIX.allow(
    Role.ADMIN,
    "automation.switch",
    needs=["datalane.automation_switches:insert", "datalane.automation_switches:update"],
)
RUN_RULES = MATRIX.allow(
    Role.ADMIN, "automation.run", needs=["datalane.automation_runs:insert", "datalane.automation_runs:update"]
)
REPLAY_RUNS = MATRIX.allow(Role.ADMIN, "automation.replay", needs=["datalane.automation_runs:update"])

# Outbound webhooks
READ_WEBHOOKS = MATRIX.allow(
    Role.VIEWER,
    "webhook.read",
    needs=[
        f"datalane.webhook_{table}:select"
        for table in ("endpoints", "endpoint_types", "secrets", "deliveries", "attempts")
    ],
)
MANAGE_ENDPOINTS = MATRIX.allow(
    Role.ADMIN,
    "webhook.manage",
    needs=[
        *(f"datalane.webhook_endpoints:{command}" for command in ("insert", "update")),
        *(f"datalane.webhook_endpoint_types:{command}" for command in ("insert", "delete")),
        *(f"datalane.webhook_secrets:{command}" for command in ("insert", "update", "delete")),
        "datalane.subscriptions:delete",
    ],
)
DELIVER = MATRIX.allow(
    Role.ADMIN,
    "webhook.deliver",
    needs=[
        f"datalane.webhook_{table}:{command}"
        for table in ("deliveries", "attempts")
        for command in ("insert", "update")
    ],
)

# Inbound webhooks
READ_INBOUND = MATRIX.allow(
    Role.VIEWER, "inbound_webhook.read", needs=["datalane.inbound_webhooks:select", "datalane.inbound_held:select"]
)
MANAGE_INBOUND = MATRIX.allow(
    Role.ADMIN,
    "inbound_webhook.change",
    needs=["datalane.inbound_webhooks:insert", "datalane.inbound_webhooks:update"],
)
DECIDE_HELD = MATRIX.allow(Role.ADMIN, "inbound_webhook.decide", needs=["datalane.inbound_held:update"])

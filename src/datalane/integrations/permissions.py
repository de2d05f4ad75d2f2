"""What may be done with integrations, and by whom."""

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

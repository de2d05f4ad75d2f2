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

"""What may be done with agents, and by whom."""

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role

# Versions and prices
READ_VERSIONS = MATRIX.allow(
    Role.VIEWER,
    "agent_version.read",
    needs=[f"datalane.agent_{table}:select" for table in ("prompts", "models", "output_schemas", "prices")],
)
REGISTER_VERSIONS = MATRIX.allow(
    Role.MEMBER,
    "agent_version.register",
    needs=[f"datalane.agent_{table}:insert" for table in ("prompts", "models", "output_schemas")],
)
SET_PRICES = MATRIX.allow(Role.ADMIN, "agent_price.create", needs=["datalane.agent_prices:insert"])

"""What an answer shows once. Apart from the HTTP contracts, so that a worker need not load a web framework for it."""

from __future__ import annotations

from typing import Any

ONE_TIME_SECRET: dict[str, Any] = {"x-one-time-secret": True}
"""For `Field(json_schema_extra=ONE_TIME_SECRET)`: shown once, null when an idempotent answer is repeated."""

"""Plans as the application states them, in code: features, and quotas with their windows.

    lane = Lane()
    lane.plan("free", default=True, features=["search"], quotas={"api.requests": Quota(1_000, "day")})
    lane.plan("pro", features=["search", "export"], quotas={"api.requests": Quota(60, "minute", warn_at=(80, 95))})

A plan that says something else than before is a new version; workspaces keep the one they were given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import asyncpg

from datalane.db.database import Database
from datalane.db.faults import translated
from datalane.errors import ConfigurationError
from datalane.kit.logs import get_logger

Window = Literal["minute", "hour", "day", "month", "rolling"]
MOST_UNITS = 10**15
"""The most units that a limit or one use can have."""
LEAST_SECONDS, MOST_SECONDS = 60, 400 * 86_400
"""How long a rolling window is."""

_KEY = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
_MOST_KEYS = 500

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Quota:
    """How many units may be used in each window; `limit` None only counts. A day or a month begins at midnight of
    `time_zone`; a rolling window is the last `seconds`. `warn_at` are percents of the limit that publish a warning.

    Raises `ConfigurationError` for what is none.
    """

    limit: int | None
    window: Window
    seconds: int | None = None
    time_zone: str = "UTC"
    warn_at: Sequence[int] = (80,)

    def __post_init__(self) -> None:
        if self.window not in get_args(Window):
            raise ConfigurationError(f"a window is one of {', '.join(get_args(Window))}, not {self.window!r}")
        if self.limit is not None and not (_is_whole(self.limit) and 0 <= self.limit <= MOST_UNITS):
            raise ConfigurationError(f"a limit is a whole number from 0 to {MOST_UNITS}, or None, not {self.limit!r}")
        rolls = self.window == "rolling"
        if rolls != (self.seconds is not None):
            raise ConfigurationError("a rolling window has seconds, and no other has")
        if rolls and not (_is_whole(self.seconds) and LEAST_SECONDS <= (self.seconds or 0) <= MOST_SECONDS):
            raise ConfigurationError(f"a rolling window has {LEAST_SECONDS} to {MOST_SECONDS} whole seconds")
        if any(not _is_whole(percent) or not 1 <= percent <= 99 for percent in self.warn_at) or len(self.warn_at) > 5:
            raise ConfigurationError("warnings are at five whole percents from 1 to 99 at most")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ConfigurationError(f"there is no time zone {self.time_zone!r}") from error

    def as_dict(self) -> dict[str, Any]:
        told: dict[str, Any] = {"limit": self.limit, "window": self.window}
        if self.seconds is not None:
            told["seconds"] = self.seconds
        if self.time_zone != "UTC":
            told["time_zone"] = self.time_zone
        return {**told, "warn_at": sorted(set(self.warn_at))}


@dataclass(frozen=True, slots=True)
class Plan:
    plan_id: str
    features: tuple[str, ...]
    quotas: Mapping[str, Quota]
    default: bool = False


@dataclass
class Plans:
    """The plans of one lane."""

    _plans: dict[str, Plan] = field(default_factory=dict)

    def add(self, plan: Plan) -> Plan:
        """Raises `ConfigurationError` for a plan that is there, a second default, and malformed keys."""
        for what, keys in (("plan", [plan.plan_id]), ("feature", plan.features), ("quota", [*plan.quotas])):
            if len(keys) > _MOST_KEYS:
                raise ConfigurationError(f"the plan {plan.plan_id} has over {_MOST_KEYS} {what}s")
            for key in keys:
                if not _KEY.fullmatch(key):
                    raise ConfigurationError(f"{what} {key!r}: write it like this: reports.export")
        if plan.plan_id in self._plans:
            raise ConfigurationError(f"there is a plan {plan.plan_id} already")
        if plan.default and any(each.default for each in self):
            raise ConfigurationError("one plan is the default, not two")
        self._plans[plan.plan_id] = plan
        return plan

    def __iter__(self) -> Iterator[Plan]:
        return iter(self._plans.values())

    def __len__(self) -> int:
        return len(self._plans)


async def register_plans(database: Database, plans: Plans) -> dict[str, int]:
    """Make plans known to the database; answers their versions. Repeating it changes nothing.

    A database that is not migrated yet is left alone, with a line in the log.
    """
    if not len(plans):
        return {}
    connection = await database.direct_connection(database.roles.worker)
    try:
        with translated():
            async with connection.transaction():
                return {
                    plan.plan_id: await connection.fetchval(
                        "SELECT datalane.register_plan($1, $2, $3, $4)",
                        *(plan.plan_id, list(plan.features), _told(plan.quotas), plan.default),
                    )
                    for plan in sorted(plans, key=lambda plan: plan.plan_id)
                }
    except (asyncpg.UndefinedFunctionError, asyncpg.InvalidSchemaNameError) as error:
        log.warning("plans_not_registered_schema_is_missing", error=str(error))
        return {}
    finally:
        await connection.close()


async def retire_plan(database: Database, plan_id: str) -> bool:
    """Nobody is given the plan any more; who has it keeps it. Answers whether there was one.

    Raises `Conflict` for the default plan.
    """
    connection = await database.direct_connection(database.roles.worker)
    try:
        with translated():
            retired: bool = await connection.fetchval("SELECT datalane.retire_plan($1)", plan_id)
            return retired
    finally:
        await connection.close()


def _told(quotas: Mapping[str, Quota]) -> dict[str, Any]:
    return {key: quota.as_dict() for key, quota in quotas.items()}


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

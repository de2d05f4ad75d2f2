"""The children, and the expressions that wait for one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from datalane.engine.events import Event
from datalane.errors import InvalidInput, LimitExceeded
from datalane.integrations.automation.conditions.messages import readable
from datalane.integrations.automation.conditions.process import Child, ChildDied, ChildLimits, ConditionsUnavailable
from datalane.integrations.automation.conditions.types import Decided, Expression, ExpressionFailed, Fault
from datalane.kit.children import ChildPool
from datalane.kit.encoding import to_json
from datalane.kit.logs import get_logger
from datalane.settings import AutomationSettings, Limits

__all__ = ["Conditions", "ConditionsUnavailable"]

_BOOLEAN = {"BOOL", "DYN"}

T = TypeVar("T")
log = get_logger(__name__)


class Conditions(ChildPool[Child]):
    """Up to `automation.processes` children, started when they are first needed. Belongs to one event loop."""

    def __init__(self, automation: AutomationSettings | None = None, limits: Limits | None = None) -> None:
        automation, limits = automation or AutomationSettings(), limits or Limits()
        bounds = ChildLimits(automation.condition_time.total_seconds(), automation.memory, limits.event_payload)
        super().__init__(automation.processes, lambda: Child.start(bounds), ConditionsUnavailable)
        self._most_bytes = limits.condition

    async def check(self, expression: Expression, *, boolean: bool = False) -> None:
        """Whether it can be evaluated, as far as that is known without an event.

        Raises `LimitExceeded` for its length, `InvalidInput` saying where it is wrong, `ConditionsUnavailable`.
        """
        size = len(expression.text.encode())
        if size > self._most_bytes:
            raise LimitExceeded(
                f"{expression.where} has {size:,} bytes, the limit is {self._most_bytes:,} (limits.condition)"
            )
        try:
            kind = await self._asked(lambda child: child.check(expression))
            if boolean and kind not in _BOOLEAN:
                raise ExpressionFailed(expression, Fault("condition_not_boolean", f"its type is {kind}, not BOOL"))
        except ExpressionFailed as failed:
            raise _refusal(_told(failed)) from failed

    async def decide(self, event: Event, condition: Expression | None, arguments: Sequence[Expression]) -> Decided:
        """What the condition says of the event and, if it holds, the values of the arguments.

        Raises `ExpressionFailed`, `ConditionsUnavailable`.
        """
        named = _named(event)
        try:
            return await self._asked(lambda child: child.decide(named, condition, arguments))
        except ExpressionFailed as failed:
            raise _told(failed) from failed

    async def _asked(self, ask: Callable[[Child], Awaitable[T]]) -> T:
        """Blame the expression for the end of its child, unless that had answered others before: then a fresh one
        decides. What took too long did so by itself."""
        try:
            return await self._ask(ask)
        except ChildDied as died:
            if died.is_timeout or not died.had_served:
                raise died.failed from died
        try:
            return await self._ask(ask, fresh=True)
        except ChildDied as died:
            raise died.failed from died

    async def _ask(self, ask: Callable[[Child], Awaitable[T]], fresh: bool = False) -> T:
        async with self._lend(fresh=fresh) as child:
            try:
                return await ask(child)
            except ExpressionFailed as failed:
                answer = failed  # the child may be asked for more
            except BaseException as error:
                log.warning("condition_child_replaced", error=repr(error))
                raise
        raise answer


def _named(event: Event) -> bytes:
    """What expressions may name, by its name."""
    said: dict[str, Any] = {
        "type": event.event_type,
        "version": event.version,
        "payload": event.payload,
        "subject_id": event.subject_id,
        "source_system": event.source_system,
        "occurred_at": event.occurred_at,
        "actor_id": str(event.actor_id),
        "causation_depth": event.causation_depth,
    }
    return to_json({f"event.{name}": value for name, value in said.items()})


def _told(failed: ExpressionFailed) -> ExpressionFailed:
    fault = Fault(failed.fault.error_class, readable(failed.fault.message))
    return ExpressionFailed(failed.expression, fault)


def _refusal(failed: ExpressionFailed) -> InvalidInput:
    where, fault = failed.expression.where, failed.fault
    told = {"field": where, "message": fault.message, "code": fault.error_class}
    return InvalidInput(f"{where} cannot be used: {fault.message}", [told])

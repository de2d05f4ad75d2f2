"""What is asked of the children, and what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from datalane.engine.failures import JobError


@dataclass(frozen=True, slots=True)
class Expression:
    """`where` names it for people: `the condition`, `actions.0.arguments.title`."""

    where: str
    text: str


@dataclass(frozen=True, slots=True)
class Fault:
    """What became of an expression that has no value: its class, and what is wrong with it."""

    error_class: str
    message: str


@dataclass(frozen=True, slots=True)
class Decided:
    """`holds` is what the condition says; `values` are those of the arguments, in order, and none unless it holds."""

    holds: bool
    values: Sequence[Any] = ()


class ExpressionFailed(JobError):
    """An expression has no value that could be used. Another attempt would fail in the same way.

    The class is `condition_invalid`, `condition_error`, `condition_not_boolean`, `condition_timeout`,
    `condition_memory` or `condition_crashed`.
    """

    def __init__(self, expression: Expression, fault: Fault) -> None:
        super().__init__(fault.error_class, f"{expression.where}: {fault.message}", retryable=False)
        self.expression = expression
        self.fault = fault

"""Expressions of rules, in CEL, compiled and evaluated in child processes with bounds on time and memory.

The library holds the interpreter's lock while it works, and what a tenant writes may work for long: so neither the API
nor a worker evaluates anything itself.
"""

from datalane.integrations.automation.conditions.pool import Conditions, ConditionsUnavailable
from datalane.integrations.automation.conditions.types import Decided, Expression, ExpressionFailed, Fault

__all__ = ["Conditions", "ConditionsUnavailable", "Decided", "Expression", "ExpressionFailed", "Fault"]

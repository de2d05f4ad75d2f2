"""What should happen: the policy class of a table, the lines of the role matrix, and nothing read from a policy."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable

import datalane
from datalane.contracts.authorization import CLASS_RULES, MATRIX, Permission
from datalane.contracts.context import Role
from datalane.ops.isolation.catalog import Table, Verb

COMMANDS = ("select", "insert", "update", "delete")
READ_BY_ALL = {"app.schema_version": "the revision of the schema, which is no workspace's"}
"""Tables outside the workspaces that every role may read, and why."""
ADMINS_KINDS = frozenset({"datalane.subscriptions", "datalane.job_schedules"})
"""Tables whose rows leave jobs: those of a kind that only admins may cause are an admin's to write, whatever the class
of the table says."""
LOGIN_LOOKS_UP = {"datalane.find_session", "datalane.find_api_key"}
"""Verbs of sign-in that the bare login may call: they need a secret to answer anything (decision 0010)."""


def stated_lines() -> list[Permission]:
    """The role matrix of every slice that is installed."""
    for module in pkgutil.iter_modules(datalane.__path__, "datalane."):
        if module.ispkg and importlib.util.find_spec(f"{module.name}.permissions"):
            importlib.import_module(f"{module.name}.permissions")
    return list(MATRIX)


class Oracle:
    """The least role for each command on a table and for each verb; None: nobody."""

    def __init__(self, lines: Iterable[Permission]) -> None:
        self._lines: dict[str, list[Permission]] = {}
        for line in lines:
            for need in line.needs:
                self._lines.setdefault(need, []).append(line)

    def least(self, table: Table, command: str) -> Role | None:
        """As the class says, or lower where a line of the matrix needs it."""
        rules = CLASS_RULES.get(table.policy_class or "", {})
        return _lowest([*([rules[command]] if command in rules else []), *self._lines_of(f"{table.name}:{command}")])

    def widened(self, table: Table, command: str) -> Role | None:
        """The role that a line of the matrix lets do more than the class of the table."""
        least, rule = self.least(table, command), CLASS_RULES.get(table.policy_class or "", {}).get(command)
        return least if least is not None and least is not rule else None

    def allows(self, table: Table, command: str, rank: int) -> bool:
        least = self.least(table, command)
        return least is not None and rank >= least.rank

    def least_caller(self, verb: Verb) -> Role | None:
        """By the verb's own line, or by that of the verb to which it hands everything."""
        stands_for = [verb.name]
        if verb.language == "sql" and len(verb.mentions) == 1:
            stands_for += verb.mentions
        return _lowest([role for each in stands_for for role in self._lines_of(each)])

    def _lines_of(self, need: str) -> list[Role]:
        return [line.least for line in self._lines.get(need, ())]


def _lowest(roles: list[Role]) -> Role | None:
    return min(roles, key=lambda role: role.rank, default=None)

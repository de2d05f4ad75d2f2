"""`datalane authz`: who may do what."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from datalane.cli.output import AsJson, print_json
from datalane.contracts.authorization import MATRIX, MEMBER_ROLES
from datalane.contracts.context import Role
from datalane.domains import PERMISSIONS

_ROLES = (*MEMBER_ROLES, Role.SYSTEM)

authz = typer.Typer(help="Who may do what.", no_args_is_help=True)


@authz.callback()
def _group() -> None:
    """Who may do what."""


@authz.command()
def matrix(as_json: AsJson = False) -> None:
    """Print the role matrix: role x action x resource, and what the database must hold for it."""
    assert PERMISSIONS  # importing the domains has stated their lines
    if as_json:
        rows = [
            {
                "resource": line.resource,
                "action": line.action,
                "least_role": line.least.value,
                "roles": [role.value for role in _ROLES if line.allows(role)],
                "needs": list(line.needs),
            }
            for line in MATRIX
        ]
        print_json({"roles": [role.value for role in _ROLES], "permissions": rows})
        return
    table = Table("resource", "action", *(role.value for role in _ROLES), box=None)
    for line in MATRIX:
        table.add_row(line.resource, line.action, *("yes" if line.allows(role) else "-" for role in _ROLES))
    Console().print(table)

"""The role matrix: who may do what to which resource, as data.

A slice states its lines once, in `permissions.py`:

    CREATE = MATRIX.allow(Role.MEMBER, "project.create", needs=["datalane.projects:insert"])

A route names the line it takes (`door.writer(CREATE)`), a service checks it again for callers that come without HTTP
(`CREATE.check(tx.context)`), and the database holds the same line a third time. `needs` says where: `table:command`
for a policy, or the name of a verb, which begins with its own check of the rank. The isolation proof compares the
three.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from datalane.contracts.context import Context, Role
from datalane.errors import Forbidden, InvalidInput

MEMBER_ROLES = (Role.VIEWER, Role.MEMBER, Role.ADMIN, Role.OWNER)
"""What a membership may hold, by rising rank. The system role may do whatever an owner may, and what is the operator's
alone: who sells says what a workspace has, not who buys."""

CLASS_RULES: Mapping[str, Mapping[str, Role]] = MappingProxyType(
    {
        "tenant": MappingProxyType(
            {"select": Role.VIEWER, "insert": Role.MEMBER, "update": Role.MEMBER, "delete": Role.ADMIN}
        ),
        "managed": MappingProxyType(
            {"select": Role.VIEWER, "insert": Role.ADMIN, "update": Role.ADMIN, "delete": Role.ADMIN}
        ),
        "append": MappingProxyType({"select": Role.VIEWER, "insert": Role.MEMBER}),
        "decided": MappingProxyType({"select": Role.VIEWER, "insert": Role.ADMIN}),
        "log": MappingProxyType({"select": Role.VIEWER}),
        "self": MappingProxyType(dict.fromkeys(("select", "insert", "update", "delete"), Role.VIEWER)),
        "system": MappingProxyType({}),
        "global": MappingProxyType({}),
    }
)
"""The least role for each command on a table of each policy class; a command that is left out nobody may.

Rows are always those of one's own workspace, and of class `self` one's own.
"""

_NAME = re.compile(r"[a-z][a-z_]*(?:\.[a-z][a-z_]*)+")
_NEED = re.compile(r"[a-z_]+\.[a-z_0-9]+(?::(?:select|insert|update|delete))?")


@dataclass(frozen=True, slots=True)
class Permission:
    """One line: `name` is `resource.action`, `least` the lowest role that may."""

    name: str
    least: Role
    needs: tuple[str, ...] = ()

    @property
    def resource(self) -> str:
        return self.name.rpartition(".")[0]

    @property
    def action(self) -> str:
        return self.name.rpartition(".")[2]

    def allows(self, role: Role) -> bool:
        return role.rank >= self.least.rank

    def covered_by(self, scopes: Collection[str] | None) -> bool:
        """Whether scopes name this line or all of its resource (`document.*`); None covers everything."""
        return scopes is None or self.name in scopes or f"{self.resource}.*" in scopes

    def check(self, context: Context) -> None:
        """Raises `Forbidden` naming this line when the context's role ranks too low or its scopes leave it out."""
        if not self.allows(context.role):
            raise Forbidden(
                f"the role {context.role} may not do this ({self.name}); it takes {self.least} or above",
                target=self.name,
            )
        if not self.covered_by(context.scopes):
            raise Forbidden(
                f"the API key's scopes leave this out ({self.name}); it takes a key with that scope",
                denial="scope",
                target=self.name,
            )


@dataclass
class RoleMatrix:
    """All lines of this process. Stating the same line twice is harmless, changing one is not."""

    _lines: dict[str, Permission] = field(default_factory=dict)

    def allow(self, least: Role, name: str, *, needs: Sequence[str] = ()) -> Permission:
        """State that `least` and above may `name`. Raises `InvalidInput` for a malformed or contradicting line."""
        line = Permission(name, least, tuple(needs))
        if not _NAME.fullmatch(name):
            raise InvalidInput(f"permission {name!r}: write it as resource.action")
        for need in line.needs:
            if not _NEED.fullmatch(need):
                raise InvalidInput(f"permission {name}: {need!r} is neither schema.table:command nor schema.verb")
        known = self._lines.setdefault(name, line)
        if known != line:
            raise InvalidInput(f"permission {name} is stated twice, and differently")
        return known

    def check_scopes(self, scopes: Collection[str]) -> None:
        """Raises `InvalidInput` for a scope that is neither a line's name nor `resource.*` of a line."""
        known = {line.name for line in self} | {f"{line.resource}.*" for line in self}
        unknown = sorted(set(scopes) - known)
        if unknown:
            raise InvalidInput(
                "a scope is the name of a permission or a resource with .*, such as document.read or document.*",
                [
                    {"field": "body.scopes", "message": f"there is no permission {one}", "code": "unknown_scope"}
                    for one in unknown
                ],
            )

    def __iter__(self) -> Iterator[Permission]:
        return iter(sorted(self._lines.values(), key=lambda line: line.name))

    def __getitem__(self, name: str) -> Permission:
        try:
            return self._lines[name]
        except KeyError:
            raise InvalidInput(f"there is no permission {name}") from None

    def __len__(self) -> int:
        return len(self._lines)


MATRIX = RoleMatrix()
"""The process's matrix."""

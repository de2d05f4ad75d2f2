"""Rules on the wall of a live database: row-level security, policies, privileges, owners."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from datalane.contracts.authorization import CLASS_RULES
from datalane.contracts.context import Role
from datalane.db.roles import Roles
from datalane.ops.guard.catalog.read import LANE_SCHEMAS, Catalog, Relation, Row
from datalane.ops.guard.declared import Declared
from datalane.ops.guard.rules import Fault, rule

_OWN = "(workspace_id = app.workspace_id())"
_MINE = f"({_OWN} AND (actor_id = app.actor_id()))"
_COMMANDS = {"select": "r", "insert": "a", "update": "w", "delete": "d"}
_SHOWN = {"r": "SELECT", "a": "INSERT", "w": "UPDATE", "d": "DELETE", "*": "every command"}

Policy = tuple[str, str | None, str | None]
"""Command, USING, WITH CHECK, as the catalog writes them."""


@rule(
    "catalog-row-security",
    holds="row-level security is enabled and forced on every table and partition",
    remedy="ALTER TABLE … ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY, as app.protect does",
    story="F2-E3",
)
def check_row_security(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.relations:
        if each.is_table:
            for word, held in (("enabled", each.enabled), ("forced", each.forced)):
                if not held:
                    yield Fault(each.name, f"row-level security is not {word}")


@rule(
    "catalog-policies",
    holds="a table has the policies that its class implies, and no other that is not declared",
    remedy="apply app.protect again in a revision; a policy beside the class is declared with a reason",
    story="F2-E3",
)
def check_policies(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.tables:
        if each.policy_class in CLASS_RULES:
            yield from _policy_faults(each, catalog.roles, declared)


@rule(
    "catalog-policy-subquery",
    holds="no policy holds a subquery: it ruins row estimates, and sharded clusters refuse it",
    remedy="compare with app.workspace_id(), app.actor_id() or app.actor_rank()",
    story="F2-E3",
)
def check_subqueries(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.relations:
        for policy in each.policies:
            if policy["subquery"]:
                yield Fault(each.name, f"the policy {policy['name']} holds a subquery")


@rule(
    "catalog-grants",
    holds="a role has the privileges on a table that its class implies, and no other that is not declared",
    remedy="REVOKE the privilege in a revision; one beside the class is declared with a reason",
    story="F2-E3",
)
def check_grants(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.relations:
        for grant in each.grants:
            if not _granted_rightly(each, grant, catalog.roles, declared):
                scope = " on a column" if grant["on_column"] else ""
                yield Fault(each.name, f"{grant['grantee']} has {grant['privilege']}{scope}")


@rule(
    "catalog-owner",
    holds="tables and views belong to the owner role, which cannot log in",
    remedy="ALTER TABLE … OWNER TO the owner role",
    story="F2-E3",
)
def check_owner(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.relations:
        if each.owner != catalog.roles.owner:
            yield Fault(each.name, f"it belongs to {each.owner}, not to {catalog.roles.owner}")


@rule(
    "catalog-view",
    holds="a view runs with its caller's rights",
    remedy="ALTER VIEW … SET (security_invoker = true)",
    story="F2-E3",
)
def check_views(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    for each in catalog.relations:
        if each.kind == "v" and not {"security_invoker=true", "security_invoker=on"} & set(each.options):
            yield Fault(each.name, "the view runs with its owner's rights")


@rule(
    "catalog-functions",
    holds="a function belongs to the owner or the definer role, and PUBLIC may not call it; one that runs with its "
    "owner's rights belongs to the definer and has an empty search_path",
    remedy="create it as the definer with SECURITY DEFINER SET search_path = '' and REVOKE ALL … FROM PUBLIC",
    story="F2-E3",
)
def check_functions(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    roles = catalog.roles
    for each in catalog.functions:
        allowed = {roles.definer} if each["definer"] else {roles.owner, roles.definer}
        if each["owner"] not in allowed:
            yield Fault(each["name"], f"it belongs to {each['owner']}, not to {' or '.join(sorted(allowed))}")
        if each["definer"] and 'search_path=""' not in each["settings"]:
            yield Fault(each["name"], "SECURITY DEFINER without an empty search_path")
        if each["public"] and each["schema"] in LANE_SCHEMAS:
            yield Fault(each["name"], "PUBLIC may call it")


@rule(
    "catalog-roles",
    holds="no role of the lane is a superuser, bypasses row-level security or inherits",
    remedy="ALTER ROLE … NOSUPERUSER NOBYPASSRLS NOINHERIT",
    story="F2-E3",
)
def check_roles(catalog: Catalog, declared: Declared) -> Iterator[Fault]:
    words = {"superuser": "it is a superuser", "bypasses": "it bypasses row-level security", "inherits": "it inherits"}
    for each in catalog.lane_roles:
        for attribute, said in words.items():
            if each[attribute]:
                yield Fault(each["name"], said)
    for name in sorted(set(catalog.roles.all) - {each["name"] for each in catalog.lane_roles}):
        yield Fault(name, "the role does not exist", remedy="run `datalane init` again")


def implied_policies(policy_class: str) -> set[Policy]:
    """What the app role's policies on a table of the class are, from the role matrix's rules of classes."""
    if policy_class == "self":
        return {("*", _MINE, _MINE)}
    implied = set[Policy]()
    for command, least in CLASS_RULES[policy_class].items():
        held = _OWN if least is Role.VIEWER else f"({_OWN} AND (app.actor_rank() >= {least.rank}))"
        using = None if command == "insert" else held
        implied.add((_COMMANDS[command], using, held if command in {"insert", "update"} else None))
    return implied


def _policy_faults(table: Relation, roles: Roles, declared: Declared) -> Iterator[Fault]:
    implied = implied_policies(str(table.policy_class))
    fixed: Mapping[str, set[Policy]] = {
        roles.app: implied,
        roles.definer: {("*", "true", "true")},
        roles.operator: {("r", "true", None)},
        roles.backup: {("r", "true", None)},
    }
    seen: dict[str, set[Policy]] = {role: set() for role in fixed}
    for each in table.policies:
        if f"{table.name}.{each['name']}" in declared.policies:
            continue
        policy = (each["command"], each["using"], each["with_check"])
        for role in each["roles"]:
            if policy in fixed.get(role, ()) and each["permissive"]:
                seen[role].add(policy)
            else:
                said = f"the policy {each['name']} for {role} on {_SHOWN[each['command']]} is not that of the class"
                yield Fault(table.name, said)
    for role, needed in ((roles.app, implied), (roles.backup, fixed[roles.backup])):
        for command, *_ in sorted(needed - seen[role], key=str):
            yield Fault(table.name, f"no policy of the class {table.policy_class} for {role} on {_SHOWN[command]}")


def _granted_rightly(table: Relation, grant: Row, roles: Roles, declared: Declared) -> bool:
    role = next((name for name in _LANE if getattr(roles, name) == grant["grantee"]), None)
    if role is None:
        return False
    if f"{table.name}.{role}" in declared.grants and grant["privilege"] == "SELECT":
        return True
    if table.kind == "v":  # it runs with its caller's rights, which is another rule's to hold
        return role == "app" and grant["privilege"] == "SELECT" and not grant["on_column"]
    if table.partition or not table.is_table:
        return False
    privilege, commands = grant["privilege"], {"SELECT", "INSERT", "UPDATE", "DELETE"}
    match role:
        case "app":
            known = CLASS_RULES.get(table.policy_class or "", {})
            return privilege.lower() in known and not grant["on_column"]
        case "definer":
            return privilege in commands
        case "operator":
            return privilege == "SELECT" and bool(grant["on_column"])
        case "backup":
            return bool(privilege == "SELECT")
    return False


_LANE = ("owner", "login", "app", "worker", "signin", "definer", "operator", "backup", "maintenance")

"""What can be read off a verb's rights and source."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from datalane.db.roles import Roles
from datalane.ops.isolation.catalog import Catalog, Verb
from datalane.ops.isolation.oracle import LOGIN_LOOKS_UP, Oracle
from datalane.ops.isolation.rules import Fault

GUARD = re.compile(
    r"\bBEGIN\s+(?:(?P<quick>IF workspace IS NULL OR app\.actor_rank\(\) < (?P<below>\d)) THEN\s+)?"
    r"PERFORM\s+datalane\.require_rank\((?P<rank>(?(quick)(?P=below)|[^;]*))\)\s*;(?(quick)\s*END IF;)"
)
"""How a verb begins: with a check of the rank, or where each statement counts with the same check in short, which
leaves to the long one what to say to whoever may not."""
_OF_THE_DOOR = re.compile(r"\bworkspace CONSTANT uuid := app\.workspace_id\(\)\s*;", re.IGNORECASE)
_CONSTANT_ID = re.compile(r"'(?!0{8}-)[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}'")
_EQUATION = re.compile(r"(?:\b(\w+)\.|(?<![\w.)]))workspace_id\s*(?:=|IN\b)\s*([\w.()]+)")
_REFERENCE = re.compile(
    r"\b(?:FROM|JOIN|UPDATE|USING)\s+([a-z_]\w*\.[a-z_]\w*)(?:\s+(?:AS\s+)?(?!(?:SET|WHERE|ON|JOIN|LEFT|CROSS|ORDER|LIMIT|USING"
    r"|GROUP|UNION|FOR|LOOP)\b)([a-z]\w*))?",
)


def verb_faults(catalog: Catalog, oracle: Oracle, verbs: Iterable[Verb]) -> Iterator[Fault]:
    """Everything that is wrong with these verbs."""
    roles = catalog.roles
    reached = _reached_by_tenants(catalog)
    for verb in verbs:
        for says in _rights(roles, oracle, verb):
            yield Fault("catalog", verb.name, says)
        if verb.definer and roles.app in verb.callers:
            for says in _asks_the_door(catalog, oracle, verb):
                yield Fault("lint", verb.name, says)
        if verb.name in reached:
            for says in _names_the_workspace(catalog, verb):
                yield Fault("lint", verb.name, says)


def _rights(roles: Roles, oracle: Oracle, verb: Verb) -> Iterator[str]:
    if "PUBLIC" in verb.callers:
        yield "everybody may call it"
    if not verb.definer:
        return
    if verb.owner != roles.definer:
        yield f"it runs with the rights of {verb.owner}, not of {roles.definer}"
    if not any(setting.replace('"', "") == "search_path=" for setting in verb.settings):
        yield "it runs with its caller's search_path; declare it SET search_path = ''"
    kinds = verb.callers & {roles.app, roles.worker, roles.signin, roles.maintenance}
    if len(kinds) > 1:
        yield f"several kinds of callers may call it: {', '.join(sorted(kinds))}"
    if roles.login in verb.callers and verb.name not in LOGIN_LOOKS_UP:
        yield f"{roles.login} may call it outside any door"
    for role in sorted(verb.callers & {roles.operator, roles.backup}):
        yield f"{role} may call it"
    least = oracle.least_caller(verb)
    if roles.app in verb.callers and least is None:
        yield "tenants may call it, but no line of the role matrix names it"
    if least is not None and roles.app not in verb.callers:
        yield f"a line of the role matrix names it, but {roles.app} may not call it"


def _asks_the_door(catalog: Catalog, oracle: Oracle, verb: Verb) -> Iterator[str]:
    """It begins with require_rank and the role of its line, or hands everything to a verb that does."""
    for argument in verb.arguments:
        if re.fullmatch(r"workspaces?(_ids?)?", argument.name):
            yield f"it takes the workspace as an argument ({argument.name}) instead of asking the door"
    guard = GUARD.search(verb.code)
    if guard is None:
        called = [one for one in catalog.verbs if one.name in verb.mentions]
        if verb.language != "sql" or len(called) != 1 or catalog.roles.app not in called[0].callers:
            yield "it does not begin with PERFORM datalane.require_rank(…)"
        return
    if not re.search(r"\bBEGIN\b", verb.code) or verb.code.index("BEGIN") != guard.start():
        yield "something comes before PERFORM datalane.require_rank(…)"
    if guard["quick"] and not _OF_THE_DOOR.search(verb.code):
        yield "its check in short looks at a workspace that is not app.workspace_id()"
    least = oracle.least_caller(verb)
    ranks = [int(number) for number in re.findall(r"\b\d\b", guard["rank"])]
    if least is not None and max(ranks, default=0) != least.rank:
        yield f"it asks for the rank {guard['rank']}, its line of the role matrix for {least.rank} ({least})"


def _reached_by_tenants(catalog: Catalog) -> frozenset[str]:
    """Verbs that run when a tenant calls one: those that app may call, and all that they call."""
    called = {verb.name for verb in catalog.verbs if verb.definer and catalog.roles.app in verb.callers}
    return catalog.reached_from(called).union(called) & {verb.name for verb in catalog.verbs}


def _names_the_workspace(catalog: Catalog, verb: Verb) -> Iterator[str]:
    """Every use of a workspace's table says which workspace, in the same statement, and not by a constant."""
    if _CONSTANT_ID.search(verb.code):
        yield "it holds the id of a row or a workspace as a constant"
    for statement in verb.code.split(";"):
        used = [
            (table, found)
            for found in _REFERENCE.finditer(statement)
            if (table := catalog.relations.get(found[1])) is not None and table.has_workspace
        ]
        anchored = _anchored(statement, {found[2] or "" for _, found in used})
        for table, found in used:
            alias = found[2] or ""
            column = rf"\b{alias}\.workspace_id\b" if alias else r"(?<![\w.])workspace_id\b"
            uses = len(re.findall(rf"{column}\s*(?:=|IN\b)|=\s*{column}", statement))
            references = len(re.findall(rf"{re.escape(found[0])}\b", statement))
            if uses < references or alias not in anchored:
                yield f"a statement on {table.name} does not say {alias + '.' if alias else ''}workspace_id = …"


def _anchored(statement: str, aliases: set[str]) -> set[str]:
    """Those whose workspace is compared with something given, themselves or through one that they are joined with."""
    anchored, joined = set[str](), list[set[str]]()
    for left, right in _EQUATION.findall(statement):
        other = right.removesuffix(".workspace_id")
        if other != right and other in aliases and left in aliases:
            joined.append({left, other})
        else:
            anchored |= {left, other} & aliases
    for _ in joined:
        for pair in joined:
            anchored |= pair if pair & anchored else set()
    return anchored

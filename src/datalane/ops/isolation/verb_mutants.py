"""Faults of verbs, generated from their sources and rights."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from datalane.contracts.context import Role
from datalane.ops.isolation.catalog import Catalog, Verb
from datalane.ops.isolation.lint import GUARD
from datalane.ops.isolation.mutants import Mutant
from datalane.ops.isolation.oracle import LOGIN_LOOKS_UP, Oracle
from datalane.ops.isolation.seed import Seeds
from datalane.ops.isolation.session import quoted
from datalane.ops.isolation.values import THEIRS

_PREDICATE = re.compile(r"\b(?:\w+\.)?workspace_id = (?:app\.workspace_id\(\)|workspace\b)")
_DOOR = "app.workspace_id()"
_ANYBODY = (Role.SYSTEM.value,)
"""What does not depend on the role is tried as the system, which is let through everywhere."""
_MOST_CALLERS = 2
"""How many of the verbs that call a faulty one are tried."""
_CONTEXT = {
    "app.actor_rank": "SELECT 4",
    "app.workspace_id": "SELECT {workspace}::uuid",
    "datalane.require_rank": "BEGIN RETURN; END",
}
"""Functions that everything rests on, and a body that answers whatever is asked."""


def verb_mutants(catalog: Catalog, oracle: Oracle, seeds: Seeds) -> Iterator[Mutant]:
    for verb in catalog.verbs:
        if verb.name in _CONTEXT:
            yield _of_context(catalog, oracle, seeds, verb)
        if verb.definer:
            yield from _of_rights(catalog, oracle, verb)
        yield from _of_source(catalog, oracle, seeds, verb)


def tenant_callers(catalog: Catalog, oracle: Oracle, verb: Verb) -> tuple[str, ...]:
    """The verb itself where tenants may call it, else some that call it for them, the plainest first."""
    if oracle.least_caller(verb):
        return (verb.name,)
    calling = [one for one in catalog.verbs if oracle.least_caller(one) and verb.name in catalog.reach[one.oid]]
    calling.sort(key=lambda one: (len(one.arguments), one.name))
    return tuple(one.name for one in calling[:_MOST_CALLERS])


def _of_context(catalog: Catalog, oracle: Oracle, seeds: Seeds, verb: Verb) -> Mutant:
    body = _CONTEXT[verb.name].format(workspace=quoted(str(seeds.workspace(THEIRS))))
    head = verb.definition.partition("AS $function$")[0].partition("\nRETURN ")[0]
    shown = tuple(table.name for table in catalog.tables if table.policy_class == "tenant")[:1]
    return Mutant(
        "context", verb.name, "answers whatever is asked", f"{head} AS $mutant$ {body} $mutant$", shown,
        verbs=tenant_callers(catalog, oracle, verb), lowest_first=True,
    )  # fmt: skip


def _of_rights(catalog: Catalog, oracle: Oracle, verb: Verb) -> Iterator[Mutant]:
    roles = catalog.roles
    mutant = Mutant("verb rights", verb.name, "", "")
    on = f"FUNCTION {verb.signature}"
    held = verb.callers & {roles.app, roles.worker, roles.signin, roles.maintenance}
    # The lane's own verbs are for the worker; only verbs that another kind of caller has can be given to one too many.
    wrong = {roles.app, roles.login, "PUBLIC"} | ({roles.worker, roles.signin} if held else set())
    for role in sorted(wrong - verb.callers):
        if role == roles.login and verb.name in LOGIN_LOOKS_UP:
            continue
        doors = frozenset({roles.login, roles.worker, roles.signin} if role == "PUBLIC" else {role})
        sql = f"GRANT EXECUTE ON {on} TO {role}"
        yield replace(mutant, says=f"granted to {role}", sql=sql, verbs=(verb.name,), doors=doors)
    yield replace(mutant, says="without its search_path", sql=f"ALTER {on} RESET search_path")
    yield replace(mutant, says="owned by the tables' owner", sql=f"ALTER {on} OWNER TO {roles.owner}")
    if oracle.least_caller(verb):
        tried = replace(mutant, verbs=(verb.name,), actors=_ANYBODY)
        yield replace(tried, says=f"taken from {roles.app}", sql=f"REVOKE EXECUTE ON {on} FROM {roles.app}")
        if any(each in catalog.relations for each in verb.mentions):  # else it only hands on to another verb
            yield replace(tried, says="with its caller's rights", sql=f"ALTER {on} SECURITY INVOKER")


def _of_source(catalog: Catalog, oracle: Oracle, seeds: Seeds, verb: Verb) -> Iterator[Mutant]:
    callers = tenant_callers(catalog, oracle, verb)
    if not callers or verb.name in _CONTEXT:
        return
    mutant = Mutant("verb", verb.name, "", "", verbs=callers)
    guard = GUARD.search(verb.definition)
    if guard is not None:
        removed = verb.definition.replace(guard[0], "BEGIN", 1)
        yield replace(mutant, says="without its check of the rank", sql=removed, lowest_first=True)
        highest = max(int(number) for number in re.findall(r"\b\d\b", guard["rank"]))
        if highest > 1:
            lower = verb.definition.replace(guard[0], f"BEGIN PERFORM datalane.require_rank({highest - 1});", 1)
            yield replace(mutant, says="with a lower rank", sql=lower, lowest_first=True)
    if _PREDICATE.search(verb.definition):
        sql = _PREDICATE.sub("true", verb.definition)
        yield replace(mutant, says="without its workspace predicate", sql=sql, actors=_ANYBODY)
    if _DOOR in verb.source:
        foreign = f"{quoted(str(seeds.workspace(THEIRS)))}::uuid"
        sql = verb.definition.replace(_DOOR, foreign)
        yield replace(mutant, says="in a workspace that is not the door's", sql=sql, actors=_ANYBODY)

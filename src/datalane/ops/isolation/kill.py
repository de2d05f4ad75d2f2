"""Putting a mutant into the database, and seeing who notices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from datalane.ops.isolation.actors import Actor, Stage
from datalane.ops.isolation.catalog import Catalog
from datalane.ops.isolation.catalog_reader import read_roles, read_tables, read_verbs
from datalane.ops.isolation.cells import Cell
from datalane.ops.isolation.lint import verb_faults
from datalane.ops.isolation.mutants import Mutant
from datalane.ops.isolation.rules import Fault, role_faults, table_faults
from datalane.ops.isolation.session import Session
from datalane.ops.isolation.tables import Bench, try_table
from datalane.ops.isolation.verbs import Digest, VerbBench, try_verb


@dataclass(frozen=True, slots=True)
class Fate:
    """`killer` is `behaviour`, `catalog` or `lint`; None: it survived."""

    mutant: Mutant
    killer: str | None
    detail: str

    def as_dict(self) -> dict[str, str | None]:
        return {"mutant": self.mutant.name, "kind": self.mutant.kind, "killer": self.killer, "detail": self.detail}


@dataclass(frozen=True)
class Hunter:
    """Kills mutants on the superuser's connection. What it expects comes from the catalog without a mutant."""

    session: Session
    tables: Bench
    verbs: VerbBench
    digest: Digest
    actors: Sequence[Actor]
    login: str

    @property
    def catalog(self) -> Catalog:
        return self.tables.catalog

    def hunt(self, mutant: Mutant) -> Fate:
        """Behaviour is asked first, so that what only a rule sees is known."""
        self.session.run("BEGIN")
        try:
            applied = self.session.try_(mutant.sql)
            if not applied.worked:
                return Fate(mutant, None, f"it could not be put into the database: {applied}")
            for cell in self._cells(mutant):
                if cell.is_fault:
                    detail = f"{cell.subject}, {cell.probe}, {cell.actor}: {cell.verdict.value}: {cell.detail}"
                    return Fate(mutant, "behaviour", detail)
            for fault in self._faults(mutant):
                return Fate(mutant, fault.kind, fault.says)
            return Fate(mutant, None, "nothing noticed it")
        finally:
            self.session.run("ROLLBACK")

    def _cells(self, mutant: Mutant) -> Iterator[Cell]:
        stage = Stage(self.session, self.login)
        actors = [
            actor
            for actor in self.actors
            if (mutant.doors is None or actor.door in mutant.doors)
            and (mutant.actors is None or actor.name in mutant.actors)
        ]
        if mutant.lowest_first:
            actors.sort(key=lambda actor: actor.rank)
        for each in mutant.tables:
            yield from try_table(stage, self.tables, self.catalog.relations[each], actors, mutant.probes)
        for verb in self.catalog.verbs:
            if verb.name in mutant.verbs:
                yield from try_verb(stage, self.verbs, self.digest, verb, actors)

    def _faults(self, mutant: Mutant) -> Iterator[Fault]:
        """The rules, on what the catalog says now of the mutant's subject."""
        oracle, known = self.tables.oracle, self.catalog
        if mutant.subject in known.relations:
            (now,) = read_tables(self.session, [known.relations[mutant.subject].oid])
            changed = replace(known, relations={**known.relations, now.name: now})
            yield from table_faults(changed, oracle, [now])
        elif mutant.subject in known.roles.all:
            yield from role_faults(known.roles, read_roles(self.session, known.roles))
        else:
            oids = [verb.oid for verb in known.verbs if verb.name == mutant.subject]
            fresh = {verb.oid: verb for verb in read_verbs(self.session, oids)}
            changed = replace(known, verbs=tuple(fresh.get(verb.oid, verb) for verb in known.verbs))
            yield from verb_faults(changed, oracle, fresh.values())

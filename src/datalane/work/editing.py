"""Optimistic concurrency: who edits says which version they saw, and learns what others changed meanwhile.

    seen == current                      the edit is applied
    seen < current, on_conflict=fail     StaleVersion: the current row, and the fields that others changed
    seen < current, on_conflict=merge    applied to the current row, unless somebody changed one of the same fields

Everything here is a function of values; rows are locked before and written after.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

from datalane.errors import Conflict, DatalaneError, InvalidInput, NotFound, StaleVersion
from datalane.work.changes import same
from datalane.work.schemas import Thing

T = TypeVar("T", bound=Thing)
_BOOKKEEPING = frozenset({"version", "updated_at", "updated_by_actor_id", "created_at", "created_by_actor_id"})
_TIMES = frozenset({"archived_at", "deleted_at"})
_VERSION = "say which version you saw, as `version` or in an If-Match header; it is in every answer"


class Versioned(Protocol):
    """A model that counts its changes."""

    version: int

    def model_dump(self, *, mode: str) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Ask(Generic[T]):
    """An edit somebody asks for. `apply` makes the new state of a thing, with its old bookkeeping; it may refuse.

    `fields` are those it means to change. `of_deleted` edits are about deleted things only, the others about the rest.
    """

    id: UUID
    seen: int | None
    action: str
    apply: Callable[[T], T]
    fields: frozenset[str] = frozenset()
    merges: bool = False
    of_deleted: bool = False


@dataclass(frozen=True, slots=True)
class Edit(Generic[T]):
    """A state that is to be written over another, or for the first time."""

    before: T | None
    after: T
    action: str


def decide(ask: Ask[T], current: T | None, changed: Sequence[str], name: str) -> Edit[T] | None:
    """What `ask` does to the current row; None when it changes nothing.

    `changed` are the fields that others changed since the version that was seen. Raises what the caller is told.
    """
    if current is None or (current.deleted_at is not None) != ask.of_deleted:
        raise NotFound(f"no such {name}" if not ask.of_deleted else f"no such deleted {name}")
    if _was_seen(ask.seen, current.version, name) < current.version:
        _check_stale(ask, current, changed, name)
    after = ask.apply(current)
    return None if same(content(after), content(current)) else Edit(current, after, ask.action)


def check_seen(seen: int | None, current: Versioned, name: str) -> None:
    """That `seen` is the version of `current`, of which nothing is merged.

    Raises `InvalidInput` without a version, `Conflict` for one that never was, `StaleVersion` with the current row.
    """
    if _was_seen(seen, current.version, name) < current.version:
        raise StaleVersion(
            f"the {name} was changed since version {seen}, and is at version {current.version}; read it again",
            {"current": current.model_dump(mode="json")},
        )


def _was_seen(seen: int | None, version: int, name: str) -> int:
    if seen is None:
        raise InvalidInput(_VERSION, [{"field": "version", "message": _VERSION, "code": "missing_version"}])
    if seen > version:
        raise Conflict(f"the {name} is at version {version}; nobody can have seen {seen}")
    return seen


def _check_stale(ask: Ask[T], current: T, changed: Sequence[str], name: str) -> None:
    overlap = sorted(ask.fields & set(changed))
    if ask.merges and not overlap:
        return
    said = f"the {name} was changed since version {ask.seen}, and is at version {current.version}"
    advice = "read it again" if ask.merges else "read it again, or send on_conflict=merge if your fields are others"
    raise StaleVersion(
        f"{said}; {advice}",
        {
            "current": current.model_dump(mode="json"),
            "changed_fields": sorted(set(changed)),
            "conflicting_fields": overlap,
        },
    )


def content(thing: Thing) -> dict[str, Any]:
    """What people edit, as JSON values: no bookkeeping, and of deleting only whether it is so."""
    told = thing.model_dump(mode="json", exclude=set(_BOOKKEEPING | _TIMES))
    return told | {"deleted": thing.deleted_at is not None}


def decide_all(
    asks: Sequence[Ask[T]], current: Mapping[UUID, T], changed: Mapping[UUID, Sequence[str]], name: str
) -> list[Edit[T] | T | DatalaneError]:
    """For each ask the edit, the thing as it is when nothing changes, or why not. A thing is edited once."""
    outcomes: list[Edit[T] | T | DatalaneError] = []
    seen = set[UUID]()
    for ask in asks:
        try:
            if ask.id in seen:
                raise Conflict(f"the {name} {ask.id} stands twice in this batch; send one edit of each")
            seen.add(ask.id)
            thing = current.get(ask.id)
            edit = decide(ask, thing, changed.get(ask.id, ()), name)
            assert thing is not None
            outcomes.append(edit or thing)
        except DatalaneError as error:
            outcomes.append(error)
    return outcomes


def find_stale(asks: Sequence[Ask[T]], current: Mapping[UUID, T]) -> dict[UUID, int]:
    """The things that were changed since somebody saw them, with the version that was seen."""
    return {
        ask.id: ask.seen
        for ask in asks
        if ask.seen is not None and ask.id in current and ask.seen < current[ask.id].version
    }

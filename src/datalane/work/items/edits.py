"""What an edit makes of an item: functions of values, which refuse what must not be stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from datalane.errors import Conflict, InvalidInput, LimitExceeded
from datalane.kit.ids import uuid7
from datalane.kit.jsonlimits import encode_within
from datalane.settings import Limits
from datalane.work.editing import Ask
from datalane.work.fields.definitions import Fields
from datalane.work.items.schemas import Item, ItemChanges, ItemTransition, ItemUpdate, NewItem
from datalane.work.schemas import Status
from datalane.work.states import ITEM
from datalane.work.texts import check_description, check_name, check_title

KEY_CHARACTERS = 100
"""Most characters of a key of metadata."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds for the items of a request: `projects` that exist, with their status, and active members."""

    limits: Limits
    fields: Fields
    actor_id: UUID
    now: datetime
    projects: Mapping[UUID, str]
    members: frozenset[UUID]


def new_item(new: NewItem, rules: Rules) -> Item:
    """Raises `InvalidInput`, `LimitExceeded`, and `Conflict` for a project that takes no items."""
    metadata = {key: value for key, value in new.metadata.items() if value is not None}
    _check_metadata(metadata, rules, set(metadata))
    return Item(
        item_id=uuid7(),
        project_id=_check_project(new.project_id, rules),
        title=check_title(new.title, "title", rules.limits),
        description=check_description(new.description, "description"),
        status=new.status,
        priority=new.priority,
        assignee_id=_check_assignee(new.assignee_id, rules),
        tags=check_tags(new.tags, rules.limits),
        metadata=metadata,
        version=1,
        created_at=rules.now,
        updated_at=rules.now,
        archived_at=None,
        deleted_at=None,
        created_by_actor_id=rules.actor_id,
        updated_by_actor_id=rules.actor_id,
    )


def ask_update(update: ItemUpdate, rules: Rules) -> Ask[Item]:
    changes = update.changes
    named = changes.model_fields_set - {"metadata"}
    keys = {f"metadata.{key}" for key in changes.metadata or ()}
    return Ask(
        update.item_id,
        update.version,
        "updated",
        lambda item: _updated(item, changes, rules),
        frozenset(named | keys),
        merges=update.on_conflict == "merge",
    )


def ask_transition(transition: ItemTransition, rules: Rules) -> Ask[Item]:
    return Ask(
        transition.item_id,
        transition.version,
        "transitioned",
        lambda item: _transitioned(item, transition.status, rules.now),
        frozenset({"status"}),
    )


def ask_delete(item_id: UUID, version: int | None, rules: Rules) -> Ask[Item]:
    return Ask(item_id, version, "deleted", lambda item: item.model_copy(update={"deleted_at": rules.now}))


def ask_restore(item_id: UUID, version: int | None, rules: Rules) -> Ask[Item]:
    def restored(item: Item) -> Item:
        _check_project(item.project_id, rules)
        return item.model_copy(update={"deleted_at": None})

    return Ask(item_id, version, "restored", restored, of_deleted=True)


def _updated(item: Item, changes: ItemChanges, rules: Rules) -> Item:
    given = changes.model_fields_set
    after: dict[str, Any] = {}
    if "title" in given:
        after["title"] = check_title(_not_null(changes.title, "title"), "title", rules.limits)
    if "description" in given:
        after["description"] = check_description(changes.description or "", "description")
    if "project_id" in given and changes.project_id != item.project_id:
        after["project_id"] = _check_project(changes.project_id, rules)
    if "priority" in given:
        after["priority"] = _not_null(changes.priority, "priority")
    if "assignee_id" in given and changes.assignee_id != item.assignee_id:
        after["assignee_id"] = _check_assignee(changes.assignee_id, rules)
    if "tags" in given:
        after["tags"] = check_tags(changes.tags or [], rules.limits)
    if changes.metadata:
        after["metadata"] = _patched(item.metadata, changes.metadata, rules)
    return item.model_copy(update=after)


def _patched(metadata: Mapping[str, Any], patch: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    merged = {key: value for key, value in {**metadata, **patch}.items() if value is not None}
    _check_metadata(merged, rules, set(patch))
    return merged


def _transitioned(item: Item, status: Status, now: datetime) -> Item:
    ITEM.check(item.status, status)
    return item.model_copy(update={"status": status, "archived_at": now if status == "archived" else None})


def check_tags(tags: Sequence[str], limits: Limits) -> list[str]:
    """The tags once each, sorted. Raises `LimitExceeded` for too many, `InvalidInput` for one that cannot be."""
    if len(tags) > limits.tags:
        raise LimitExceeded(f"{len(tags):,} tags, the limit is {limits.tags} (limits.tags)")
    return sorted({check_name(tag, f"tags.{place}", limits.tag_characters) for place, tag in enumerate(tags)})


def _check_metadata(metadata: Mapping[str, Any], rules: Rules, given: set[str]) -> None:
    for key in given:
        check_name(key, "a key of the metadata", KEY_CHARACTERS)
        if key != key.strip():
            raise InvalidInput(f"the key {key!r} of the metadata has white space around it")
    encode_within(metadata, "the metadata", rules.limits.metadata, rules.limits.metadata_depth)
    rules.fields.check(metadata, given)


def _check_project(project_id: UUID | None, rules: Rules) -> UUID | None:
    if project_id is None:
        return None
    status = rules.projects.get(project_id)
    if status is None:
        raise _refused("project_id", "no such project", "unknown_project")
    if status == "archived":
        raise Conflict("the project is archived and takes no items; make it active first")
    return project_id


def _check_assignee(user_id: UUID | None, rules: Rules) -> UUID | None:
    if user_id is not None and user_id not in rules.members:
        raise _refused("assignee_id", "is no active member of this workspace", "unknown_member")
    return user_id


def _not_null(value: Any, field: str) -> Any:
    if value is None:
        raise _refused(field, "cannot be null; leave it out to keep it", "null")
    return value


def _refused(field: str, message: str, code: str) -> InvalidInput:
    return InvalidInput(f"{field}: {message}", [{"field": field, "message": message, "code": code}])

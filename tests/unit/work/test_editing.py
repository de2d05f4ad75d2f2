"""What happens to an edit is decided from values alone."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalane.errors import Conflict, InvalidInput, NotFound, StaleVersion
from datalane.kit.ids import uuid7
from datalane.work.changes import differences
from datalane.work.editing import Ask, Edit, content, decide, decide_all, find_stale
from datalane.work.projects.schemas import Project

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ID, ACTOR = uuid7(), uuid7()


def a_project(version: int = 3, deleted: bool = False, **said: object) -> Project:
    fields = {"title": "The garden", "description": "", "status": "draft", **said}
    return Project(
        project_id=ID,
        version=version,
        created_at=NOW,
        updated_at=NOW,
        archived_at=None,
        deleted_at=NOW if deleted else None,
        created_by_actor_id=ACTOR,
        updated_by_actor_id=ACTOR,
        **fields,  # type: ignore[arg-type]
    )


def rename(seen: int | None, to: str = "The yard", merges: bool = False, of_deleted: bool = False) -> Ask[Project]:
    return Ask(
        ID,
        seen,
        "updated",
        lambda project: project.model_copy(update={"title": to}),
        frozenset({"title"}),
        merges,
        of_deleted,
    )


def test_an_edit_of_the_current_version_is_applied() -> None:
    edit = decide(rename(3), a_project(), (), "project")
    assert edit == Edit(a_project(), a_project(title="The yard"), "updated")


def test_an_edit_that_changes_nothing_is_no_edit() -> None:
    assert decide(rename(3, "The garden"), a_project(), (), "project") is None


@given(st.integers(1, 2), st.sets(st.sampled_from(["title", "description", "status"])), st.booleans())
def test_a_stale_edit_is_merged_when_asked_to_and_nobody_changed_its_fields(
    seen: int, changed: set[str], merges: bool
) -> None:
    if merges and "title" not in changed:
        assert decide(rename(seen, merges=True), a_project(), sorted(changed), "project") is not None
        return
    with pytest.raises(StaleVersion) as late:
        decide(rename(seen, merges=merges), a_project(), sorted(changed), "project")
    assert late.value.told["changed_fields"] == sorted(changed)
    assert late.value.told["conflicting_fields"] == sorted(changed & {"title"})
    assert late.value.told["current"]["version"] == 3


@pytest.mark.parametrize(
    ("ask", "current", "error"),
    [
        (rename(1), None, NotFound),
        (rename(3), a_project(deleted=True), NotFound),
        (rename(3, of_deleted=True), a_project(), NotFound),
        (rename(None), a_project(), InvalidInput),
        (rename(4), a_project(), Conflict),
    ],
)
def test_what_cannot_be_edited_is_refused(ask: Ask[Project], current: Project | None, error: type[Exception]) -> None:
    with pytest.raises(error):
        decide(ask, current, (), "project")


def test_a_thing_is_edited_once_in_a_batch() -> None:
    outcomes = decide_all([rename(3), rename(3, "The park")], {ID: a_project()}, {}, "project")
    assert isinstance(outcomes[0], Edit)
    assert isinstance(outcomes[1], Conflict)
    assert "stands twice" in str(outcomes[1])


def test_only_what_was_changed_since_it_was_seen_is_stale() -> None:
    other = UUID(int=1)
    asks = [rename(2), Ask(other, 1, "updated", lambda project: project)]
    assert find_stale(asks, {ID: a_project()}) == {ID: 2}


def test_bookkeeping_is_no_content() -> None:
    later = a_project(version=9).model_copy(update={"updated_at": datetime(2027, 1, 1, tzinfo=UTC)})
    assert content(later) == content(a_project())
    assert content(a_project(deleted=True)) != content(a_project())


def test_changes_are_told_field_by_field_without_what_is_long_or_sensitive() -> None:
    before = {"title": "a", "text": "x" * 300, "metadata": {"cost": 1, "salary": 5, "api_key": "k1", "same": 1}}
    after = {"title": "b", "text": "y", "metadata": {"cost": None, "salary": 6, "api_key": "k2", "same": 1, "new": [1]}}
    told = [change.as_json() for change in differences(before, after, lambda key: key == "salary")]
    assert told == [
        {"field": "metadata.api_key", "before": "[redacted]", "after": "[redacted]"},
        {"field": "metadata.cost", "before": 1, "after": None},
        {"field": "metadata.new", "before": None, "after": [1]},
        {"field": "metadata.salary", "withheld": "sensitive"},
        {"field": "text", "withheld": "long"},
        {"field": "title", "before": "a", "after": "b"},
    ]

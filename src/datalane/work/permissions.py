"""What may be done with projects, items, fields, the timeline and saved views, and by whom."""

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role

_FOUND_BY = ("item_tags", "item_fields")
_READ_BY = (*_FOUND_BY, "search_postings", "field_definitions", "field_aliases")
"""What items are found by; a member who may change an item may replace it."""

READ_PROJECTS = MATRIX.allow(Role.VIEWER, "project.read", needs=["datalane.projects:select"])
CREATE_PROJECTS = MATRIX.allow(
    Role.MEMBER, "project.create", needs=["datalane.projects:insert", "datalane.timeline:insert"]
)
CHANGE_PROJECTS = MATRIX.allow(
    Role.MEMBER, "project.update", needs=["datalane.projects:update", "datalane.timeline:insert"]
)

READ_ITEMS = MATRIX.allow(
    Role.VIEWER, "item.read", needs=["datalane.items:select", *(f"datalane.{table}:select" for table in _READ_BY)]
)
CREATE_ITEMS = MATRIX.allow(
    Role.MEMBER,
    "item.create",
    needs=[
        "datalane.items:insert",
        "datalane.timeline:insert",
        *(f"datalane.{table}:insert" for table in _FOUND_BY),
        "datalane.item_fields:update",
    ],
)
CHANGE_ITEMS = MATRIX.allow(
    Role.MEMBER,
    "item.update",
    needs=[
        "datalane.items:update",
        "datalane.timeline:insert",
        *(f"datalane.{table}:{command}" for table in _FOUND_BY for command in ("insert", "delete")),
        "datalane.item_fields:update",
    ],
)

READ_FIELDS = MATRIX.allow(
    Role.VIEWER, "field.read", needs=["datalane.field_definitions:select", "datalane.field_aliases:select"]
)
DEFINE_FIELDS = MATRIX.allow(
    Role.ADMIN,
    "field.define",
    needs=[
        f"datalane.{table}:{command}"
        for table in ("field_definitions", "field_aliases")
        for command in ("insert", "update", "delete")
    ],
)

READ_TIMELINE = MATRIX.allow(Role.VIEWER, "timeline.read", needs=["datalane.timeline:select"])

READ_VIEWS = MATRIX.allow(
    Role.VIEWER, "view.read", needs=["datalane.personal_views:select", "datalane.shared_views:select"]
)
KEEP_VIEWS = MATRIX.allow(
    Role.VIEWER,
    "view.keep",
    needs=[f"datalane.personal_views:{command}" for command in ("insert", "update", "delete")],
)
SHARE_VIEWS = MATRIX.allow(
    Role.MEMBER, "view.share", needs=["datalane.shared_views:insert", "datalane.shared_views:update"]
)
UNSHARE_VIEWS = MATRIX.allow(Role.ADMIN, "view.unshare", needs=["datalane.shared_views:delete"])

"""What a list of items may be asked for, and its answer.

A filter is a value, a list of values (one of them) or an object of comparisons that all hold. In whatever form it
came, an `ItemFilters` holds comparisons, with each value of a list once and in order, so that two ways to write a
query are one query.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from datalane.contracts.storable import read_date
from datalane.work.items.schemas import Item, Priority
from datalane.work.query.faults import Place, faults_of, refused, rewritten
from datalane.work.schemas import Status

MOST_VALUES = 100
"""Most values in one list."""
MOST_TAGS = 50
MOST_FIELDS = 10
"""Most fields of metadata in one query: each is a join."""
_LARGEST = 2**53

OPERATORS = {"eq": "=", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
"""Comparisons with one value, by name, and the database's operator."""

Sort = Literal["updated_at", "-updated_at", "created_at", "-created_at", "priority", "-priority"]


_HAVE_NONE = {("ItemFilters", "project_id"), ("ItemFilters", "assignee_id"), ("ReferenceFilter", "eq")}
"""Where null may be said: an item may have no project and no assignee."""


def _without_null(schema: dict[str, Any]) -> None:
    """What is left out is None inside; callers cannot say it."""
    for name, told in schema["properties"].items():
        if told.get("default", "") is not None:
            continue
        del told["default"]
        if (schema["title"], name) not in _HAVE_NONE:
            told["anyOf"] = [one for one in told.get("anyOf", ()) if one != {"type": "null"}]
            if len(told["anyOf"]) < 2:
                told |= dict(*told.pop("anyOf"))


def _unique(values: list[Any]) -> list[Any]:
    """Each once, in an order of their own; 1 and 1.0 are one value, 1 and true are two."""
    found = {(isinstance(value, bool), value): value for value in values}
    return sorted(found.values(), key=lambda value: (type(value).__name__, str(value)))


def _storable(value: str) -> str:
    """No text of the database holds NUL or half a surrogate pair, so neither can be looked for."""
    if "\x00" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise PydanticCustomError("invalid_text", "holds NUL or half a surrogate pair, which no text has")
    return value


def _moment(value: Any) -> datetime:
    try:
        return read_date(value.isoformat() if isinstance(value, datetime) else value)
    except ValueError as error:
        raise PydanticCustomError("invalid_moment", "{reason}", {"reason": str(error)}) from None


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, bool) or (isinstance(value, int) and abs(value) <= _LARGEST):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise PydanticCustomError("wrong_type", "must be a text, a number from -2^53 to 2^53, true or false")


Text = Annotated[str, Field(strict=True), AfterValidator(_storable)]
Tag = Annotated[Text, AfterValidator(str.strip)]
Moment = Annotated[datetime, BeforeValidator(_moment, json_schema_input_type=str)]
Scalar = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean"]})]
_LIST = (Field(min_length=1, max_length=MOST_VALUES), AfterValidator(_unique))


class Comparisons(BaseModel):
    """Comparisons that all hold."""

    model_config = ConfigDict(
        extra="forbid", validate_by_name=True, validate_by_alias=True, json_schema_extra=_without_null
    )
    _nullable: ClassVar[bool] = False

    @model_validator(mode="before")
    @classmethod
    def _says_something(cls, said: Any) -> Any:
        if isinstance(said, Mapping):
            if not said:
                raise PydanticCustomError("empty_filter", "compares with nothing; leave the filter out")
            if any(value is None and not (cls._nullable and name == "eq") for name, value in said.items()):
                raise PydanticCustomError("null_filter", "compares with null, which this has never")
        return said

    def __iter__(self) -> Iterator[tuple[str, Any]]:  # type: ignore[override]
        """Name and value of each comparison, in the order of their names."""
        for name in sorted(self.model_fields_set):
            yield name.removesuffix("_"), getattr(self, name)


class StatusFilter(Comparisons):
    eq: Status | None = None
    in_: Annotated[list[Status], *_LIST] | None = Field(default=None, alias="in")


class ReferenceFilter(Comparisons):
    """`null` finds those that have none."""

    _nullable = True
    eq: UUID | None = Field(default=None, description="null: it has none")
    in_: Annotated[list[UUID], *_LIST] | None = Field(default=None, alias="in")


class ActorFilter(Comparisons):
    eq: UUID | None = None
    in_: Annotated[list[UUID], *_LIST] | None = Field(default=None, alias="in")


class PriorityFilter(Comparisons):
    eq: Priority | None = None
    in_: Annotated[list[Priority], *_LIST] | None = Field(default=None, alias="in")
    gt: Priority | None = None
    gte: Priority | None = None
    lt: Priority | None = None
    lte: Priority | None = None


class MomentFilter(Comparisons):
    """Dates (midnight UTC) or moments with their offset, in ISO 8601."""

    gt: Moment | None = None
    gte: Moment | None = None
    lt: Moment | None = None
    lte: Moment | None = None


class FieldFilter(Comparisons):
    """Values are of the type that the field is defined with."""

    eq: Scalar | None = None
    in_: Annotated[list[Scalar], *_LIST] | None = Field(default=None, alias="in")
    gt: Scalar | None = None
    gte: Scalar | None = None
    lt: Scalar | None = None
    lte: Scalar | None = None


class TagFilter(Comparisons):
    """At least one of `any`, and each of `all`."""

    any: Annotated[list[Tag], Field(min_length=1, max_length=MOST_TAGS), AfterValidator(_unique)] | None = None
    all: Annotated[list[Tag], Field(min_length=1, max_length=MOST_TAGS), AfterValidator(_unique)] | None = None


def _compared(said: Any) -> Any:
    """A bare value is equality, a bare list is one of them."""
    if isinstance(said, Mapping | Comparisons):
        return said
    return {"in": list(said)} if isinstance(said, list | tuple) else {"eq": said}


_STATUS = BeforeValidator(_compared, json_schema_input_type=Status | list[Status] | StatusFilter)
_REFERENCE = BeforeValidator(_compared, json_schema_input_type=UUID | list[UUID] | ReferenceFilter | None)
_ACTOR = BeforeValidator(_compared, json_schema_input_type=UUID | list[UUID] | ActorFilter)
_PRIORITY = BeforeValidator(_compared, json_schema_input_type=Priority | list[Priority] | PriorityFilter)
_FIELD = BeforeValidator(_compared, json_schema_input_type=Scalar | list[Scalar] | FieldFilter)


class ItemFilters(BaseModel):
    """All of them hold. Deleted items are left out, or with `deleted` the only ones."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_without_null)

    status: Annotated[StatusFilter | None, _STATUS] = None
    project_id: Annotated[ReferenceFilter | None, _REFERENCE] = None
    assignee_id: Annotated[ReferenceFilter | None, _REFERENCE] = None
    created_by: Annotated[ActorFilter | None, _ACTOR] = None
    priority: Annotated[PriorityFilter | None, _PRIORITY] = None
    created_at: MomentFilter | None = None
    updated_at: MomentFilter | None = None
    tags: TagFilter | None = None
    metadata: (
        Annotated[dict[Text, Annotated[FieldFilter, _FIELD]], Field(min_length=1, max_length=MOST_FIELDS)] | None
    ) = None
    text: Text | None = None
    deleted: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, said: Any) -> Any:
        if isinstance(said, Mapping):
            nulls = [name for name in cls.model_fields if name in said and said[name] is None]
            wrong = [name for name in nulls if (cls.__name__, name) not in _HAVE_NONE]
            if wrong:
                raise PydanticCustomError(
                    "null_filter",
                    "null is a value of project_id and assignee_id alone; leave out {names}",
                    {"names": ", ".join(wrong)},
                )
        return said


class ItemQuery(BaseModel):
    """A page of the items that `filters` let through. `cursor` is the `next_cursor` of the page before."""

    model_config = ConfigDict(extra="forbid")

    filters: ItemFilters = Field(default_factory=ItemFilters)
    sort: Sort = "-updated_at"
    page_size: Annotated[int, Field(strict=True, ge=1, description="the lane's limit when that is less")] = 25
    cursor: Text | None = None

    @model_validator(mode="wrap")
    @classmethod
    def _in_the_words_of_the_caller(cls, said: Any, read: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return read(said)
        except ValidationError as error:
            raise rewritten(error, said, _names) from None


class ItemPage(BaseModel):
    """`total_count` is exact, or an estimate and marked. `text_bounded` says that `text` was looked for in the newest
    items with its rarest word alone, because more have it than are looked at; they are what was counted."""

    data: list[Item]
    total_count: int
    total_count_estimated: bool
    text_bounded: bool
    page_size: int
    next_cursor: str | None
    applied_filters: dict[str, Any]


_COMPARISONS: Mapping[str, type[BaseModel]] = {
    "status": StatusFilter,
    "project_id": ReferenceFilter,
    "assignee_id": ReferenceFilter,
    "created_by": ActorFilter,
    "priority": PriorityFilter,
    "created_at": MomentFilter,
    "updated_at": MomentFilter,
    "tags": TagFilter,
    "metadata": FieldFilter,
}


def read_query(said: Any) -> ItemQuery:
    """The query that a caller wrote as JSON. Raises `InvalidInput` naming every fault."""
    try:
        return ItemQuery.model_validate(said)
    except ValidationError as error:
        raise refused(faults_of(error)) from error


def applied(filters: ItemFilters) -> dict[str, Any]:
    """The filters as JSON, in the one form in which the same filters are the same text."""
    told = filters.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {**told, "deleted": filters.deleted}


def _names(place: Place) -> Sequence[str]:
    match place:
        case ():
            model: type[BaseModel] = ItemQuery
        case ("filters",):
            model = ItemFilters
        case _:
            model = _COMPARISONS[str(place[1])]
    return [info.alias or name for name, info in model.model_fields.items()]

"""The fields that a workspace defined, and what they ask of the metadata of its items.

A field has an id, and a key under which it stands in metadata. Items that were written before a field got its key hold
its value under the old one: `current` puts that right for whoever reads, and the next change of the item for good.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from datalane.contracts.storable import read_date
from datalane.db.named_queries import load_queries
from datalane.db.transaction import Transaction
from datalane.errors import InvalidInput

FieldType = Literal["text", "number", "boolean", "date"]
INDEXED_CHARACTERS = 500
"""Most characters of a text in an indexed field."""
_LARGEST = 2**53
"""Whole numbers up to here are told apart by the database's number (IEEE 754 double), and larger ones are all whole."""

_queries = load_queries(__file__)


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """`indexed` fields may be filtered by once `is_ready`; changes of `sensitive` ones are told without values."""

    field_id: UUID
    key: str
    type: FieldType
    required: bool = False
    sensitive: bool = False
    index_state: Literal["none", "building", "ready"] = "none"

    @property
    def indexed(self) -> bool:
        return self.index_state != "none"

    @property
    def is_ready(self) -> bool:
        return self.index_state == "ready"

    def check(self, value: Any) -> None:
        """Raises `ValueError` saying what is wrong with `value`."""
        match self.type:
            case "text":
                if not isinstance(value, str):
                    raise ValueError("must be a text")
                if self.indexed and len(value) > INDEXED_CHARACTERS:
                    raise ValueError(f"has {len(value):,} characters, an indexed field holds {INDEXED_CHARACTERS}")
            case "number":
                if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                    raise ValueError("must be a number")
                if abs(value) > _LARGEST:
                    raise ValueError("must be a number from -2^53 to 2^53")
            case "boolean":
                if not isinstance(value, bool):
                    raise ValueError("must be true or false")
            case "date":
                read_date(value)

    def as_indexed(self, value: Any) -> IndexedValue:
        """What the index holds of a value that `check` let pass."""
        match self.type:
            case "text":
                return IndexedValue(self.field_id, text=value)
            case "number":
                return IndexedValue(self.field_id, number=float(value))
            case "boolean":
                return IndexedValue(self.field_id, text="true" if value else "false")
            case "date":
                return IndexedValue(self.field_id, date=read_date(value))


@dataclass(frozen=True, slots=True)
class IndexedValue:
    """A value of an indexed field; one of the three is set."""

    field_id: UUID
    text: str | None = None
    number: float | None = None
    date: datetime | None = None


@dataclass(frozen=True, slots=True)
class Fields:
    """What a workspace defined: fields by their key, and old keys with the field that has another one now."""

    by_key: Mapping[str, FieldDefinition] = field(default_factory=dict)
    renamed: Mapping[str, FieldDefinition] = field(default_factory=dict)

    def current(self, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """`metadata` under the keys of now."""
        if not self.renamed:
            return dict(metadata)
        return {self.renamed[key].key if key in self.renamed else key: value for key, value in metadata.items()}

    def current_name(self, name: str) -> str:
        """The name of an item's field, `metadata.` and a key for those of metadata, with the key of now."""
        place, dot, key = name.partition(".")
        return f"{place}.{self.renamed[key].key}" if dot and key in self.renamed else name

    def check(self, metadata: Mapping[str, Any], given: Iterable[str] | None = None) -> None:
        """Whether `metadata` is as the definitions ask. `given` are the keys that the caller wrote; None means all.

        Raises `InvalidInput` naming every field that is wrong.
        """
        faults = [*self._wrong(metadata, set(metadata if given is None else given)), *self._missing(metadata)]
        if faults:
            said = "; ".join(f"{fault['field']} {fault['message']}" for fault in faults)
            raise InvalidInput(f"the metadata is not as its fields are defined: {said}", faults)

    def indexed(self, metadata: Mapping[str, Any]) -> dict[UUID, IndexedValue]:
        """What the index holds of `metadata`, by field; a value of another type than its field's is passed over."""
        found: dict[UUID, IndexedValue] = {}
        for key, value in metadata.items():
            definition = self.by_key.get(key)
            if definition is None or not definition.indexed:
                continue
            try:
                definition.check(value)
            except ValueError:
                continue  # written before the field was defined
            found[definition.field_id] = definition.as_indexed(value)
        return found

    def is_sensitive(self, key: str) -> bool:
        definition = self.by_key.get(key) or self.renamed.get(key)
        return definition is not None and definition.sensitive

    def _wrong(self, metadata: Mapping[str, Any], given: set[str]) -> Iterator[dict[str, str]]:
        for key in sorted(given):
            if key in self.renamed:
                yield _fault(key, f"was renamed to {self.renamed[key].key}", "renamed_field")
            elif key in self.by_key and key in metadata:
                try:
                    self.by_key[key].check(metadata[key])
                except ValueError as error:
                    yield _fault(key, str(error), "wrong_type")

    def _missing(self, metadata: Mapping[str, Any]) -> Iterator[dict[str, str]]:
        for key, definition in sorted(self.by_key.items()):
            if definition.required and key not in metadata:
                yield _fault(key, "is required", "required_field")


async def load_fields(tx: Transaction) -> Fields:
    """The fields of the workspace, with their old keys, for whoever reads."""
    return _fields(await _queries.load_fields(tx.connection, workspace_id=tx.workspace_id))


async def hold_fields(tx: Transaction) -> Fields:
    """The same for whoever writes items: the fields stay as they are until the transaction ends.

    It costs what `load_fields` does, and waits while somebody changes a field.
    """
    return _fields(await _queries.hold_fields(tx.connection))


def _fields(rows: Sequence[Any]) -> Fields:
    definitions = {
        row["field_id"]: FieldDefinition(
            row["field_id"], row["key"], row["type"], row["required"], row["sensitive"], row["index_state"]
        )
        for row in rows
    }
    return Fields(
        {definition.key: definition for definition in definitions.values()},
        {old: definitions[row["field_id"]] for row in rows for old in row["old_keys"]},
    )


def _fault(key: str, message: str, code: str) -> dict[str, str]:
    return {"field": f"metadata.{key}", "message": message, "code": code}

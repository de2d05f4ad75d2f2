"""What agents of the lane may call: tools by name, which each domain fills in.

A workspace publishes them before they can be called, and its policy decides each call. A tool that writes leaves its
effect in `call.transaction()`, where it commits with the record of the call or not at all.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import UUID

from pydantic import BaseModel

from datalane.contracts.authorization import Permission
from datalane.contracts.context import Context
from datalane.db.transaction import Transaction
from datalane.errors import ConfigurationError


class Call(Protocol):
    """A call that was authorized and goes on. `result` is set before the block of `transaction` ends."""

    run_id: UUID
    tool_call_id: UUID
    idempotency_key: str | None
    result: Any
    context: Context

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """For the effect."""
        ...

    def open_as(self, context: Context) -> AbstractAsyncContextManager[Transaction]:
        """For reading, as often as it takes."""
        ...


Run = Callable[[Any, Call], Awaitable[Mapping[str, Any]]]
"""`run(arguments, call)` answers the result as JSON."""


@dataclass(frozen=True, slots=True)
class Tool:
    """`arguments` and `result` say what it takes and answers; whoever calls it must have `needs`. `offered` says
    whether a model is told of it."""

    name: str
    description: str
    arguments: type[BaseModel]
    result: type[BaseModel]
    side_effect: Literal["read", "write"]
    needs: Permission
    run: Run
    offered: bool = True

    @property
    def input_schema(self) -> dict[str, Any]:
        return self.arguments.model_json_schema()

    @property
    def output_schema(self) -> dict[str, Any]:
        return self.result.model_json_schema(mode="serialization")

    async def __call__(self, call: Any) -> Mapping[str, Any]:
        """Raises `ValidationError` for arguments that it does not take, whatever the workspace published."""
        return await self.run(self.arguments.model_validate(call.arguments), call)


class Tools:
    """The tools of one lane."""

    def __init__(self) -> None:
        self._by_name: dict[str, Tool] = {}

    def add(self, tool: Tool) -> None:
        """Raises `ConfigurationError` for a name that is taken."""
        if tool.name in self._by_name:
            raise ConfigurationError(f"two tools have the name {tool.name}")
        self._by_name[tool.name] = tool

    def get(self, name: str) -> Tool | None:
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[Tool]:
        return iter(sorted(self._by_name.values(), key=lambda tool: tool.name))

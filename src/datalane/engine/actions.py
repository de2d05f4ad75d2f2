"""What rules may do: actions by name, which each domain and each application fills in.

An action runs inside the transaction of the rule's run, so that its effect commits with the run's record or not at all.
What it wants of the outside world it leaves as a job, with `call.idempotency_key` as the job's, and tells its id.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError

from datalane.contracts.authorization import Permission
from datalane.db.transaction import Transaction
from datalane.errors import ConfigurationError, InvalidInput


@dataclass(frozen=True, slots=True)
class ActionCall:
    """One call of an action: by which run, at which place in it, because of which event."""

    run_id: UUID
    position: int
    event_id: UUID

    @property
    def idempotency_key(self) -> str:
        """The same for the same action of the same run, however often it is tried."""
        return f"{self.run_id}:{self.position}"


Run = Callable[[Transaction, Any, ActionCall], Awaitable[Mapping[str, Any]]]
"""`run(tx, arguments, call)` answers what it did as JSON, such as the id of what it made."""


@dataclass(frozen=True, slots=True)
class Action:
    """`arguments` says what it takes; whoever publishes a rule with it must have `needs` as well."""

    name: str
    description: str
    arguments: type[BaseModel]
    needs: Permission
    run: Run


class Actions:
    """The actions of one lane."""

    def __init__(self) -> None:
        self._by_name: dict[str, Action] = {}

    def add(self, action: Action) -> None:
        """Raises `ConfigurationError` for a name that is taken."""
        if action.name in self._by_name:
            raise ConfigurationError(f"two actions have the name {action.name}")
        self._by_name[action.name] = action

    def get(self, name: str) -> Action:
        """Raises `InvalidInput` naming the actions that there are."""
        try:
            return self._by_name[name]
        except KeyError:
            known = ", ".join(sorted(self._by_name)) or "none"
            raise InvalidInput(f"there is no action {name[:80]!r}; there are: {known}") from None

    def read(self, name: str, arguments: Mapping[str, Any]) -> BaseModel:
        """`arguments` as the action takes them. Raises `InvalidInput` naming each that is wrong."""
        try:
            return self.get(name).arguments.model_validate(arguments)
        except ValidationError as error:
            faults = [
                {"field": ".".join(str(part) for part in each["loc"]), "message": each["msg"], "code": each["type"]}
                for each in error.errors(include_url=False, include_context=False, include_input=False)
            ]
            raise InvalidInput(f"the arguments of {name} are not as it takes them", faults) from error

    def __iter__(self) -> Iterator[Action]:
        return iter(sorted(self._by_name.values(), key=lambda action: action.name))

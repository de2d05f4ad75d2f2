"""Arguments of actions as a rule says them: literals, with `{"cel": "…"}` wherever a value comes from the event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from datalane.engine.actions import Actions
from datalane.errors import InvalidInput
from datalane.integrations.automation.conditions import Expression

CEL = "cel"


def find_expressions(value: Any, where: str) -> Iterator[Expression]:
    """The expressions in `value`, in order; each is named by its place."""
    if is_expression(value):
        yield Expression(where, value[CEL])
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from find_expressions(each, f"{where}.{key}")
    elif isinstance(value, list):
        for place, each in enumerate(value):
            yield from find_expressions(each, f"{where}.{place}")


def fill(value: Any, values: Iterator[Any]) -> Any:
    """`value` with the next of `values` in the place of each expression."""
    if is_expression(value):
        return next(values)
    if isinstance(value, Mapping):
        return {key: fill(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [fill(each, values) for each in value]
    return value


def is_expression(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {CEL} and isinstance(value[CEL], str)


def check_literals(actions: Actions, name: str, arguments: Mapping[str, Any], where: str) -> None:
    """Whether the action takes the arguments, as far as that is known without an event.

    Raises `InvalidInput` naming each that is wrong.
    """
    taken = actions.get(name).arguments
    computed = {key for key, value in arguments.items() if any(find_expressions(value, key))}
    faults = [
        *_unknown(taken, computed),
        *_wrong(taken, {key: value for key, value in arguments.items() if key not in computed}, computed),
    ]
    if faults:
        told = [{**fault, "field": f"{where}.{fault['field']}".rstrip(".")} for fault in faults]
        raise InvalidInput(f"the arguments of {name} are not as it takes them", told)


def _unknown(taken: type[BaseModel], computed: set[str]) -> Iterator[dict[str, str]]:
    if taken.model_config.get("extra") == "forbid":
        known = {name for name, field in taken.model_fields.items()} | {
            field.alias for field in taken.model_fields.values() if field.alias
        }
        for name in sorted(computed - known):
            yield {"field": name, "message": "Extra inputs are not permitted", "code": "extra_forbidden"}


def _wrong(taken: type[BaseModel], literals: Mapping[str, Any], computed: set[str]) -> Sequence[dict[str, str]]:
    """Faults of the literals. What a computed argument may mend is not known yet."""
    try:
        taken.model_validate(literals)
    except ValidationError as error:
        return [
            {"field": ".".join(map(str, fault["loc"])), "message": fault["msg"], "code": fault["type"]}
            for fault in error.errors(include_url=False, include_context=False, include_input=False)
            if not computed or (fault["loc"] and str(fault["loc"][0]) not in computed)
        ]
    return []

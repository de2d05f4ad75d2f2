"""Changes of routes: what goes, what becomes stricter, and that a body's change is told once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from datalane.contracts.http_compatibility import compare_http, component_uses

TEXT, WHOLE = {"type": "string"}, {"type": "integer"}
Edit = Callable[[dict[str, Any]], object]


def body(schema: Any) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": schema}}}


def link(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def shop() -> dict[str, Any]:
    order = {"type": "object", "properties": {"lines": {"type": "array", "items": link("Line")}}, "required": ["lines"]}
    line = {"type": "object", "properties": {"sku": TEXT, "count": WHOLE}, "required": ["sku"]}
    make = {
        "security": [{"bearer": []}],
        "x-role": "member",
        "requestBody": {"required": True, **body(link("Order"))},
        "responses": {"201": body(link("Order")), "default": {"description": "a problem"}},
    }
    look = {
        "parameters": [
            {"name": "order_id", "in": "path", "required": True, "schema": TEXT},
            {"name": "page_size", "in": "query", "schema": {**WHOLE, "maximum": 100}},
        ],
        "responses": {"200": {**body(link("Order")), "headers": {"ETag": {"schema": TEXT}}}},
    }
    return {
        "paths": {"/orders/create": {"post": make}, "/orders/{order_id}": {"get": look}},
        "components": {"schemas": {"Order": order, "Line": line}},
    }


def create(document: dict[str, Any]) -> Any:
    return document["paths"]["/orders/create"]["post"]


def look(document: dict[str, Any]) -> Any:
    return document["paths"]["/orders/{order_id}"]["get"]


def line(document: dict[str, Any]) -> Any:
    return document["components"]["schemas"]["Line"]


def rename_path_parameter(document: dict[str, Any]) -> None:
    moved = document["paths"].pop("/orders/{order_id}")
    moved["get"]["parameters"][0]["name"] = "id"
    document["paths"]["/orders/{id}"] = moved


def told(edit: Edit) -> list[str]:
    """Each difference as `contract direction path kind`, a breaking one with `!`."""
    before, after = shop(), shop()
    edit(after)
    return [
        f"{each.contract} {each.direction} {each.difference.path} {each.difference.kind}"
        + ("!" if each.difference.breaking else "")
        for each in compare_http(before, after)
    ]


CREATE, LOOK = "POST /orders/create", "GET /orders/{order_id}"
EDITS: dict[str, tuple[Edit, list[str]]] = {
    "nothing": (lambda new: None, []),
    "a path goes": (
        lambda new: new["paths"].pop("/orders/create"),
        [f"{CREATE} request operation operation_removed!"],
    ),
    "another method": (
        lambda new: new["paths"]["/orders/create"].update(put=new["paths"]["/orders/create"].pop("post")),
        [f"{CREATE} request operation operation_removed!", "PUT /orders/create request operation operation_added"],
    ),
    "a path's parameter is renamed": (rename_path_parameter, []),
    "a parameter goes": (
        lambda new: look(new)["parameters"].pop(),
        [f"{LOOK} request request.query.page_size parameter_removed!"],
    ),
    "a parameter comes": (
        lambda new: look(new)["parameters"].append({"name": "sort", "in": "query", "schema": TEXT}),
        [f"{LOOK} request request.query.sort parameter_added"],
    ),
    "a required parameter comes": (
        lambda new: look(new)["parameters"].append({"name": "sort", "in": "query", "required": True, "schema": TEXT}),
        [f"{LOOK} request request.query.sort required_parameter_added!"],
    ),
    "a parameter becomes required": (
        lambda new: look(new)["parameters"][1].update(required=True),
        [f"{LOOK} request request.query.page_size became_required!"],
    ),
    "a parameter takes less": (
        lambda new: look(new)["parameters"][1]["schema"].update(maximum=50),
        [f"{LOOK} request request.query.page_size maximum_narrowed!"],
    ),
    "a parameter is deprecated": (
        lambda new: look(new)["parameters"][1].update(deprecated=True),
        [f"{LOOK} request request.query.page_size deprecated"],
    ),
    "a status goes": (
        lambda new: create(new)["responses"].pop("201"),
        [f"{CREATE} response response.201 status_removed!"],
    ),
    "a status comes": (
        lambda new: create(new)["responses"].update({"202": body(TEXT)}),
        [f"{CREATE} response response.202 status_added"],
    ),
    "a media type of the answer goes": (
        lambda new: look(new)["responses"]["200"].update(content={"text/csv": {}}),
        [
            f"{LOOK} response response.200 media_type_removed!",
            f"{LOOK} response response.200 media_type_added",
        ],
    ),
    "a header of the answer goes": (
        lambda new: look(new)["responses"]["200"].pop("headers"),
        [f"{LOOK} response response.200.header.etag header_removed!"],
    ),
    "the body becomes optional": (
        lambda new: create(new)["requestBody"].update(required=False),
        [f"{CREATE} request request.body became_optional"],
    ),
    "the body goes": (
        lambda new: create(new).pop("requestBody"),
        [f"{CREATE} request request.body request_body_removed!"],
    ),
    "a sign-in is needed": (
        lambda new: look(new).update(security=[{"bearer": []}]),
        [f"{LOOK} request operation authentication_required!"],
    ),
    "a higher role is needed": (
        lambda new: create(new).update({"x-role": "admin"}),
        [f"{CREATE} request operation role_raised!"],
    ),
    "an operation is deprecated": (
        lambda new: create(new).update(deprecated=True),
        [f"{CREATE} request operation deprecated"],
    ),
    "a component changes, told once and in both directions": (
        lambda new: line(new)["required"].append("count"),
        ["dto:Line request $.count became_required!", "dto:Line response $.count became_required"],
    ),
    "another component takes its place": (
        lambda new: (
            new["components"]["schemas"].update(Receipt={"type": "object", "properties": {"lines": TEXT}}),
            look(new)["responses"]["200"].update(body(link("Receipt"))),
        ),
        [
            f"{LOOK} response response.200.lines became_optional!",
            f"{LOOK} response response.200.lines type_changed!",
        ],
    ),
    "the same component under another name": (
        lambda new: (
            new["components"]["schemas"].update(Same=copy.deepcopy(new["components"]["schemas"]["Order"])),
            look(new)["responses"]["200"].update(body(link("Same"))),
        ),
        [],
    ),
}


@pytest.mark.parametrize(("edit", "expected"), EDITS.values(), ids=EDITS.keys())
def test_a_change_of_routes_is_named(edit: Edit, expected: list[str]) -> None:
    assert sorted(told(edit)) == sorted(expected)


def test_a_component_is_used_where_others_lead_to_it() -> None:
    uses = component_uses(shop())
    assert sorted(uses["Line"].directions) == ["request", "response"]
    assert uses["Line"].operations == {CREATE, LOOK}

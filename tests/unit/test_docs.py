"""The docs are complete and true where a machine can tell: a missing setting, command, route or verb turns this red."""

from __future__ import annotations

import ast
import asyncio
import importlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import psycopg
import pytest
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel, TypeAdapter
from typer.main import get_command

import datalane.access.analytics.metrics
import datalane.access.lifecycle.metrics
import datalane.agents.metrics
import datalane.agents.safety.metrics
import datalane.agents.spans.metrics
import datalane.api.metrics
import datalane.engine.metrics
import datalane.identity.metrics
import datalane.integrations.automation.metrics
import datalane.integrations.notifications.metrics
import datalane.integrations.webhooks.deliveries.metrics
import datalane.knowledge.moderation.service
import datalane.knowledge.own_indexes.metrics
import datalane.knowledge.responses.service
import datalane.knowledge.retrieval.asked
from datalane.access.lifecycle.states import DEMO_ACCESS, RULES, SIGNALS, Ignored
from datalane.agents.runs.states import RUN as AGENT_RUN
from datalane.agents.runs.states import TOOL_CALL
from datalane.api.app import create_app
from datalane.api.openapi import access_by_operation
from datalane.cli.lanes import open_lane
from datalane.cli.main import app
from datalane.contracts.context import Role
from datalane.contracts.registry import BUILT_IN
from datalane.db.access import Prepared
from datalane.db.faults import VERB_ERRORS
from datalane.domains import domain_routers, make_runtime
from datalane.engine.states import JOB
from datalane.identity.states import INVITE, MEMBERSHIP
from datalane.integrations.automation.states import RUN
from datalane.integrations.connectors.schemas import HealthOutcome
from datalane.integrations.connectors.states import CONNECTOR
from datalane.integrations.inbound.schemas import Preset, SignatureRule
from datalane.integrations.inbound.states import HELD
from datalane.integrations.notifications.categories import CATEGORIES
from datalane.integrations.notifications.states import DELIVERY as NOTIFICATION_DELIVERY
from datalane.integrations.webhooks.deliveries.states import DELIVERY
from datalane.integrations.webhooks.endpoints.states import ENDPOINT
from datalane.kit.logs import LINE
from datalane.lane import Lane
from datalane.ops.guard import run as guard
from datalane.settings import Settings
from datalane.work.states import ITEM, PROJECT

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("examples/**/*.md"), *ROOT.glob("bench/*.md")])
NOT_INSTALLED = {"notes", "django"}


def page(name: str) -> str:
    return (DOCS / name).read_text()


def table_rows(text: str) -> list[list[str]]:
    """The cells of every row of every table that begins with code."""
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


# Settings ---------------------------------------------------------------------------------------------------------


def leaf_settings(model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Each setting's variable and its default as the docs write it."""
    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from leaf_settings(type(field.default), (*path, name))
            continue
        default = field.default
        if isinstance(default, timedelta):
            default = TypeAdapter(timedelta).dump_json(default).decode().strip('"')
        shown = "–" if default in (None, "") else f"`{default}`"
        yield f"DATALANE_{'__'.join((*path, name)).upper()}", shown


def test_every_setting_is_in_the_reference_with_its_default() -> None:
    documented = {row[0].strip("`"): row[1] for row in table_rows(page("reference/settings.md"))}
    assert documented == dict(leaf_settings())


# Commands ---------------------------------------------------------------------------------------------------------


def commands(command: Any, path: str = "datalane") -> Iterator[tuple[str, set[str]]]:
    """Each command and its options."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield path, {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
        return
    if command.invoke_without_command:
        yield path, {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
    for name, each in inner.items():
        yield from commands(each, f"{path} {name}")


def test_every_command_and_option_is_in_the_reference() -> None:
    documented: dict[str, set[str]] = {}
    for section in page("reference/cli.md").split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        name = re.sub(r" [A-Z]+…?$", "", title.strip("`"))
        documented[name] = {option for row in table_rows(body) for option in re.findall(r"`(-[^`]+)`", row[0])}
    known = {name: options - {"--help", "-h"} for name, options in commands(get_command(app))}
    assert documented == known


# Routes -----------------------------------------------------------------------------------------------------------


FOR_ROLE = {
    Role.VIEWER: "For viewers and above",
    Role.MEMBER: "For members and above",
    Role.ADMIN: "For admins and above",
    Role.OWNER: "For the owner",
}


async def test_every_route_is_in_the_reference_under_its_role(urls: Prepared, tmp_path: Path) -> None:
    lane = Lane()
    async with open_lane(lane, Settings(home=tmp_path), urls.database_url, asyncio.Event()) as runtime:
        operations = access_by_operation(create_app(lane, domain_routers(runtime)))
    known: dict[str, str] = {}
    for (method, path), access in operations.items():
        if method == "HEAD":
            continue
        if access is None:
            known[f"{method} {path}"] = "Public"
        elif access.permission is None:
            known[f"{method} {path}"] = "For anybody signed in"
        else:
            known[f"{method} {path}"] = FOR_ROLE[access.permission.least]
    documented: dict[str, str] = {}
    for section in page("reference/http.md").split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        routes = [row[0].strip("`") for row in table_rows(body)]
        documented |= {route: title for route in routes if route.startswith(("GET ", "POST ", "DELETE "))}
    assert documented == known


# Verbs ------------------------------------------------------------------------------------------------------------

GRANTED = """
SELECT n.nspname || '.' || p.proname, coalesce(p.proargnames[1:p.pronargs], '{}')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname IN ('app', 'datalane') AND EXISTS (
    SELECT FROM aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE r.rolname IN ('datalane', 'datalane_app', 'datalane_worker', 'datalane_signin', 'datalane_operator',
                        'datalane_maintenance'))
"""


def test_every_granted_verb_is_in_the_reference_with_its_arguments(template: Prepared) -> None:
    with psycopg.connect(template.database_url) as connection:
        known = {name: [each for each in names if each != "now"] for name, names in connection.execute(GRANTED)}
    documented = {}
    for row in table_rows(page("reference/sql-verbs.md")):
        signature = re.fullmatch(r"`((?:app|datalane)\.\w+)\((.*)\)`", row[0])
        if signature:
            documented[signature[1]] = re.findall(r"\w+", signature[2])
    assert documented == known


def test_every_verb_stands_under_the_role_that_calls_it(template: Prepared) -> None:
    documented: dict[str, set[str]] = {}
    for section in page("reference/sql-verbs.md").split("\n## ")[1:]:
        role = re.search(r"^As `(\w+)`", section, re.MULTILINE)
        if role:
            named = re.findall(r"^\| `(datalane\.\w+)\(", section, re.MULTILINE)
            documented.setdefault(role[1], set()).update(named)
    with psycopg.connect(template.database_url) as connection:
        known = {
            role: {
                str(name)
                for (name,) in connection.execute(
                    "SELECT 'datalane.' || proname FROM pg_proc WHERE pronamespace = 'datalane'::regnamespace "
                    "AND has_function_privilege(%s, oid, 'EXECUTE')",
                    [role],
                )
            }
            for role in ("datalane_app", "datalane_signin", "datalane_worker", "datalane_maintenance")
        }
    assert documented == known


def test_the_login_role_itself_may_call_what_the_reference_says_and_nothing_else(template: Prepared) -> None:
    with psycopg.connect(template.database_url) as connection:
        granted = connection.execute(
            "SELECT n.nspname || '.' || p.proname FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace "
            "WHERE n.nspname IN ('app', 'datalane') AND has_function_privilege(current_user, p.oid, 'EXECUTE')"
        ).fetchall()
    said = [row[0] for row in table_rows(page("reference/sql-verbs.md")) if "the login role may call it" in row[1]]
    assert {name for (name,) in granted} == {signature.strip("`").partition("(")[0] for signature in said}
    assert len(granted) == 3


def test_every_error_of_a_verb_is_in_the_reference() -> None:
    documented = {row[0].strip("`"): row[2].strip("`") for row in table_rows(page("reference/sql-verbs.md")) if row[2:]}
    assert {state: documented.get(state) for state in VERB_ERRORS} == {
        state: error.__name__ for state, error in VERB_ERRORS.items()
    }


# Guard ------------------------------------------------------------------------------------------------------------


def test_every_rule_of_the_guard_is_in_the_reference_with_its_story() -> None:
    documented = {row[0].strip("`"): row[1:4] for row in table_rows(page("reference/guard.md"))}
    assert documented == {
        name: [rule.holds, rule.story, "yes" if rule.waivable else "no"] for name, rule in guard.rule_book().items()
    }


# Concepts ---------------------------------------------------------------------------------------------------------


def test_every_metric_is_in_the_reference_with_its_labels() -> None:
    known = {}
    modules = (
        datalane.access.lifecycle.metrics,
        datalane.access.analytics.metrics,
        datalane.agents.metrics,
        datalane.agents.safety.metrics,
        datalane.agents.spans.metrics,
        datalane.api.metrics,
        datalane.engine.metrics,
        datalane.identity.metrics,
        datalane.integrations.automation.metrics,
        datalane.integrations.webhooks.deliveries.metrics,
        datalane.integrations.notifications.metrics,
        datalane.knowledge.own_indexes.metrics,
        datalane.knowledge.moderation.service,
        datalane.knowledge.responses.service,
        datalane.knowledge.retrieval.asked,
    )
    for module in modules:
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                (family,) = metric.describe()
                name = f"{family.name}_total" if family.type == "counter" else family.name
                known[name] = metric._labelnames
    rows = re.findall(r"^\| `(datalane_\w+)` \| ([^|]+) \|", (DOCS / "reference/telemetry.md").read_text(), re.M)
    assert {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == known


def test_every_field_of_a_log_line_is_in_the_reference() -> None:
    text = (DOCS / "reference/telemetry.md").read_text().partition("## Metrics")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.M)) == set(LINE["properties"])


def test_the_state_diagram_is_the_lifecycle() -> None:
    assert code_blocks(page("concepts/jobs.md"), "mermaid") == [JOB.mermaid() + "\n"]
    described = {row[0].strip("`") for row in table_rows(page("concepts/jobs.md"))}
    assert described == set(JOB.states)


def test_the_diagram_of_projects_and_items_is_their_lifecycle() -> None:
    assert code_blocks(page("concepts/work.md"), "mermaid") == [ITEM.mermaid() + "\n"]
    assert ITEM.transitions == PROJECT.transitions


def test_the_diagrams_of_memberships_and_invites_are_their_lifecycles() -> None:
    text = page("concepts/membership.md")
    assert code_blocks(text, "mermaid") == [MEMBERSHIP.mermaid() + "\n", INVITE.mermaid() + "\n"]
    assert {row[0].strip("`") for row in table_rows(text)} >= {*MEMBERSHIP.states, *INVITE.states}


def test_the_diagram_of_connectors_is_their_lifecycle() -> None:
    text = page("concepts/connectors.md")
    assert code_blocks(text, "mermaid") == [CONNECTOR.mermaid() + "\n"]
    assert {row[0].strip("`") for row in table_rows(text)} >= {*CONNECTOR.states, *get_args(HealthOutcome)}


def test_the_diagram_and_the_categories_of_notifications_are_the_codes() -> None:
    text = page("concepts/notifications.md")
    assert code_blocks(text, "mermaid") == [NOTIFICATION_DELIVERY.mermaid() + "\n"]
    rows = {row[0].strip("`"): row[1] for row in table_rows(text)}
    assert rows.keys() >= set(NOTIFICATION_DELIVERY.states)
    assert {name: set(re.findall(r"`(\w+)`", rows[name])) for name in CATEGORIES} == {
        name: set(category.usual) for name, category in CATEGORIES.items()
    }


def test_the_diagram_of_runs_is_their_lifecycle() -> None:
    text = page("concepts/automation.md")
    assert code_blocks(text, "mermaid") == [RUN.mermaid() + "\n"]
    assert {row[0].strip("`") for row in table_rows(text)} >= set(RUN.states)


def test_the_diagrams_of_agents_are_their_lifecycles() -> None:
    text = page("concepts/agents.md")
    assert code_blocks(text, "mermaid") == [AGENT_RUN.mermaid() + "\n", TOOL_CALL.mermaid() + "\n"]
    assert {row[0].strip("`") for row in table_rows(text)} >= {*AGENT_RUN.states, *TOOL_CALL.states}


def test_the_diagram_and_the_signals_of_demo_access_are_the_codes() -> None:
    text = page("concepts/access.md")
    assert DEMO_ACCESS.mermaid() + "\n" in code_blocks(text, "mermaid")
    rows = {row[0].strip("`"): row[1:] for row in table_rows(text)}
    assert rows.keys() >= {*DEMO_ACCESS.states, *SIGNALS}
    states = list(DEMO_ACCESS.states)
    for signal in SIGNALS[:-1]:
        told = [RULES[state][signal] for state in states]  # type: ignore[index]
        assert rows[signal][-6:] == ["–" if isinstance(each, Ignored) else f"`{each}`" for each in told]


def test_the_diagrams_of_webhooks_are_their_lifecycles() -> None:
    text = page("concepts/webhooks.md")
    assert code_blocks(text, "mermaid") == [DELIVERY.mermaid() + "\n", ENDPOINT.mermaid() + "\n"]
    assert {row[0].strip("`") for row in table_rows(text)} >= {*DELIVERY.states, *ENDPOINT.states}


def test_the_diagram_of_held_deliveries_is_their_lifecycle() -> None:
    text = page("how-to/receive-webhooks.md")
    assert code_blocks(text, "mermaid") == [HELD.mermaid() + "\n"]
    assert {row[0].strip("`") for row in table_rows(text)} >= {*get_args(Preset), *SignatureRule.model_fields}


def test_the_built_in_event_types_are_named() -> None:
    assert [name for name in BUILT_IN if f"`{name}`" not in page("concepts/events.md")] == []


# Everything -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)]+)\)", re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL))
    local = [target.partition("#")[0] for target in targets if "://" not in target]
    assert [target for target in local if target and not (path.parent / target).exists()] == []


def headings(path: Path) -> set[str]:
    """The anchors of a page, as its readers' renderers make them."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_a_heading_lead_to_one(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    targets = re.findall(r"\]\(([^)#:]*\.md)?#([^)]+)\)", text)
    assert [
        f"{page}#{anchor}" for page, anchor in targets if anchor not in headings(path.parent / page if page else path)
    ] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_in_the_docs_compiles_and_imports_what_exists(path: Path) -> None:
    for block in code_blocks(path.read_text(), "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] not in NOT_INSTALLED:
                module = importlib.import_module(node.module)
                missing = [name.name for name in node.names if not hasattr(module, name.name)]
                assert missing == [], f"{node.module} has no {missing}"


def test_every_action_is_among_those_that_the_page_of_rules_names(tmp_path: Path) -> None:
    there = {action.name for action in make_runtime(Settings(home=tmp_path)).integrations.actions}
    told = page("how-to/write-a-rule.md").partition("## Actions")[2].partition("\n## ")[0]
    assert {row[0].strip("`") for row in table_rows(told)} == there


def test_every_page_is_reached_from_the_readme() -> None:
    reached, waiting = set[Path](), [ROOT / "README.md"]
    while waiting:
        current = waiting.pop().resolve()
        if current in reached or not current.is_file():
            continue
        reached.add(current)
        if current.suffix == ".md":
            targets = re.findall(r"\]\(([^)#]+)[^)]*\)", current.read_text())
            waiting += [current.parent / target for target in targets if "://" not in target]
    assert [
        path.relative_to(ROOT) for path in DOCS.rglob("*") if path.is_file() and path.resolve() not in reached
    ] == []


@pytest.mark.parametrize("path", sorted((DOCS / "decisions").glob("0*.md")), ids=lambda path: path.stem)
def test_a_decision_is_one_short_page(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE)[:3] == ["Context", "Decision", "Consequences"]
    assert len(text.splitlines()) <= 35

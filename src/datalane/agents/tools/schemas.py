"""Tools, their rules and decisions as callers see them, and what callers say of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from datalane.agents.tools.policy import ApprovalTerm, Effect, SideEffect
from datalane.contracts.storable import Text

MOST_SCOPES = 20

Role = Literal["viewer", "member", "admin", "owner"]
Execution = Literal["serial", "parallel"]
Reason = Annotated[Text, Field(min_length=1, max_length=500)]
VersionNumber = Annotated[int, Field(ge=1, le=2**31 - 1)]


def _is_no_route(name: str) -> str:
    if name == "list":
        raise ValueError("is the name of a route")
    return name


ToolName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$"), AfterValidator(_is_no_route)]
ToolPattern = Annotated[
    str,
    Field(
        pattern=r"^([a-z][a-z0-9_.-]{0,63}|([a-z][a-z0-9_.-]{0,62})?\*)$",
        description="The name of a tool, or with a star at its end the beginning of names",
    ),
]
Agent = Annotated[Text, Field(min_length=1, max_length=200)]


class ToolToPublish(BaseModel):
    """A tool, or another version of one. `current_version` is the one that you saw, of a tool that is there.

    `input_schema` and `output_schema` are JSON Schema 2020-12; the first is of an object. `max_attempts` counts the
    first one as well.
    """

    model_config = ConfigDict(extra="forbid")

    tool_name: ToolName
    current_version: VersionNumber | None = None
    description: Annotated[Text, Field(min_length=1, max_length=4_000)]
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None = None
    required_role: Role = "member"
    required_scopes: Annotated[list[Annotated[Text, Field(max_length=100)]], Field(max_length=MOST_SCOPES)] = Field(
        default_factory=list
    )
    side_effect: SideEffect
    approval: ApprovalTerm = "for_writes"
    execution: Execution = "serial"
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    timeout_seconds: Annotated[int, Field(ge=1, le=3_600)] = 60
    fallback_tool: ToolName | None = None


class ToolTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tool_name: ToolName


class ToolToDisable(ToolTarget):
    reason: Reason | None = None


class ToolTerms(BaseModel):
    """What a version asks of its callers, and how it is called."""

    description: str
    required_role: Role
    required_scopes: list[str]
    side_effect: SideEffect
    approval: ApprovalTerm
    execution: Execution
    max_attempts: int
    timeout_seconds: int
    fallback_tool: str | None


class ListedTool(ToolTerms):
    """A tool as its current version says it, without the schemas."""

    tool_name: str
    enabled: bool
    disabled_reason: str | None
    current_version: int
    created_at: datetime
    updated_at: datetime
    created_by_actor_id: UUID
    updated_by_actor_id: UUID


class Tool(ListedTool):
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None


class PublishedTool(BaseModel):
    """`created` is false when the current version says the same already."""

    tool: Tool
    created: bool


class BuiltInToPublish(BaseModel):
    """`renew` publishes again what the workspace has, as another version where it says something else."""

    model_config = ConfigDict(extra="forbid")

    renew: bool = False


class PublishedBuiltIn(BaseModel):
    tool_name: str
    created: bool


class BuiltInTools(BaseModel):
    """`created` is false of those that the workspace had already."""

    data: list[PublishedBuiltIn]


class ToolVersion(ToolTerms):
    version: int
    input_schema: dict[str, Any]
    output_schema: dict[str, Any] | None
    published_at: datetime
    published_by_actor_id: UUID


class ToolWithVersions(Tool):
    """`versions` are the newest ones, at most 25."""

    versions: list[ToolVersion]


class ToolPage(BaseModel):
    data: list[ListedTool]
    page_size: int
    next_cursor: str | None


class ToolRuleContent(BaseModel):
    """What a rule says of calls: all that it names must hold of one. `below_role` is of who calls, `agent` of the agent
    that calls for them."""

    model_config = ConfigDict(extra="forbid")

    effect: Effect
    tool_pattern: ToolPattern
    side_effect: SideEffect | None = None
    below_role: Literal["member", "admin", "owner"] | None = None
    agent: Agent | None = None
    reason: Reason


class NewToolRule(ToolRuleContent):
    """`position` is its place from 1 on; without it, or past the end, the rule is the last one."""

    position: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    enabled: bool = True


class ToolRuleTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rule_id: UUID


class ToolRuleChange(ToolRuleContent):
    """All that the rule says from now on. `current_version` is the one that you saw."""

    rule_id: UUID
    current_version: VersionNumber | None = None


class ToolRuleToDisable(ToolRuleTarget):
    reason: Reason | None = None


class ToolRuleOrder(BaseModel):
    """All rules of the workspace, in the order in which they are asked from now on."""

    model_config = ConfigDict(extra="forbid")

    rule_ids: Annotated[list[UUID], Field(max_length=10_000)]


class ToolRule(BaseModel):
    """A rule as its current version says it. A deleted one has no position."""

    rule_id: UUID
    position: int | None
    enabled: bool
    disabled_reason: str | None
    current_version: int
    effect: Effect
    tool_pattern: str
    side_effect: SideEffect | None
    below_role: Literal["member", "admin", "owner"] | None
    agent: str | None
    reason: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    created_by_actor_id: UUID
    updated_by_actor_id: UUID


class ToolRuleVersion(BaseModel):
    version: int
    effect: Effect
    tool_pattern: str
    side_effect: SideEffect | None
    below_role: Literal["member", "admin", "owner"] | None
    agent: str | None
    reason: str
    published_at: datetime
    published_by_actor_id: UUID


class ToolRuleWithVersions(ToolRule):
    """`versions` are the newest ones, at most as many as a page has rows."""

    versions: list[ToolRuleVersion]


class ToolRuleList(BaseModel):
    data: list[ToolRule]


class ToolCheck(BaseModel):
    """A call that is not made."""

    model_config = ConfigDict(extra="forbid")

    tool_name: Annotated[Text, Field(min_length=1, max_length=64)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    agent: Agent | None = None


class ArgumentFault(BaseModel):
    """`field` is the path to what is wrong, empty for the whole value."""

    field: str
    message: str


class ToolCheckResult(BaseModel):
    """What would become of the call. A rule and its version decided, but of `invalid_arguments`, which say their
    `faults`. `tool_version` is null of a tool that is unknown."""

    outcome: Literal["authorized", "blocked_policy", "escalated", "invalid_arguments"]
    tool_version: int | None
    rule_id: str | None
    rule_version: int | None
    reason: str | None
    error_class: Literal["authz_denied", "policy_denied", "validation_error"] | None
    faults: list[ArgumentFault]

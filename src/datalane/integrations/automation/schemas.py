"""Rules and their runs as callers see them, and what callers say of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from datalane.contracts.replay import Choice
from datalane.contracts.storable import Moment, Text

MOST_ACTIONS = 20
"""Of one rule: they share a transaction."""

RunStatus = Literal["pending", "running", "completed", "skipped", "failed", "dead_letter"]
Replayable = Literal["skipped", "failed", "dead_letter"]
SkipReason = Literal["condition", "rule_disabled", "switched_off", "event_gone"]
Name = Annotated[Text, Field(min_length=1, max_length=200)]
Reason = Annotated[Text, Field(min_length=1, max_length=500)]
Condition = Annotated[Text, Field(min_length=1, max_length=65_536, description="CEL; its bytes are a setting")]


class RuleAction(BaseModel):
    """An action by its name. An argument is a literal, or `{"cel": "…"}` anywhere in it."""

    model_config = ConfigDict(extra="forbid")

    action: Annotated[Text, Field(min_length=1, max_length=100)]
    arguments: dict[str, Any] = Field(default_factory=dict)


Steps = Annotated[list[RuleAction], Field(min_length=1, max_length=MOST_ACTIONS)]


class NewRule(BaseModel):
    """A rule with its first version. Without a condition it runs for each event of the type."""

    model_config = ConfigDict(extra="forbid")

    name: Name
    event_type: Name
    condition: Condition = "true"
    actions: Steps
    enabled: bool = True


class NewRuleVersion(BaseModel):
    """What a rule says from now on. `current_version` is the one that you saw."""

    model_config = ConfigDict(extra="forbid")

    rule_id: UUID
    current_version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    condition: Condition = "true"
    actions: Steps


class RuleTarget(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rule_id: UUID


class RuleToDisable(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rule_id: UUID
    reason: Reason | None = None


class Rule(BaseModel):
    """`condition` and `actions` are those of the current version."""

    rule_id: UUID
    name: str
    event_type: str
    enabled: bool
    disabled_reason: str | None
    current_version: int
    condition: str
    actions: list[RuleAction]
    created_at: datetime
    updated_at: datetime
    created_by_actor_id: UUID
    updated_by_actor_id: UUID


class RuleVersion(BaseModel):
    version: int
    condition: str
    actions: list[RuleAction]
    published_at: datetime
    published_by_actor_id: UUID


class RuleWithVersions(Rule):
    """`versions` are the newest ones, as many as a page has rows."""

    versions: list[RuleVersion]


class AutomationSwitch(BaseModel):
    """Whether the rules of the workspace run. One that was never switched has no reason."""

    enabled: bool
    reason: str | None
    changed_at: datetime | None
    changed_by_actor_id: UUID | None


class SwitchAutomation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    enabled: bool
    reason: Reason


class RulePage(BaseModel):
    data: list[Rule]
    switch: AutomationSwitch
    page_size: int
    next_cursor: str | None


class DescribedAction(BaseModel):
    """What rules may do. `arguments` is the JSON Schema of what it takes, of which a rule may compute any by an
    expression. Whoever publishes or enables a rule with it has `permission` as well."""

    name: str
    description: str
    permission: str
    arguments: dict[str, Any]


class ActionList(BaseModel):
    data: list[DescribedAction]


class TriedRule(BaseModel):
    """A rule that is not kept."""

    model_config = ConfigDict(extra="forbid")

    condition: Condition = "true"
    actions: Steps


class DryRun(BaseModel):
    """A stored event against the current version of a rule, or against one that is not kept."""

    model_config = ConfigDict(extra="forbid")

    event_id: UUID
    rule_id: UUID | None = None
    rule: TriedRule | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.rule_id is None) == (self.rule is None):
            raise ValueError("name a rule by rule_id, or say it as rule")
        return self


class TriedAction(BaseModel):
    """An action as it would be called. `error` says why it would be refused; what its effect would be is not known."""

    action: str
    arguments: dict[str, Any]
    error: str | None


class DryRunResult(BaseModel):
    """`holds` is what the condition says; null when it, or an argument, has no value: then `error_class` says why."""

    holds: bool | None
    error_class: str | None
    error_message: str | None
    actions: list[TriedAction]


class ActionOutcome(BaseModel):
    """What an action did in the last attempt. One that `succeeded` tells its `result`; those before one that `failed`
    were `undone` with it, and those after it were `not_run`."""

    action: str
    status: Literal["succeeded", "failed", "undone", "not_run"]
    result: dict[str, Any] | None = None
    error_class: str | None = None
    error_message: str | None = None


class AutomationRun(BaseModel):
    """One event against one version of a rule. `reason` says why it was skipped."""

    run_id: UUID
    rule_id: UUID
    rule_version: int
    event_id: UUID
    event_type: str
    status: RunStatus
    reason: SkipReason | None
    error_class: str | None
    error_message: str | None
    job_id: UUID
    attempt_count: int
    replay_count: int
    actor_id: UUID
    correlation_id: str
    causation_depth: int
    created_at: datetime
    started_at: datetime
    ended_at: datetime | None


class AutomationRunWithActions(AutomationRun):
    actions: list[ActionOutcome]


class AutomationRunPage(BaseModel):
    data: list[AutomationRun]
    page_size: int
    next_cursor: str | None


class RunsToReplay(BaseModel):
    """All of it holds; what is left out holds of every run. Those made from `since` and before `until`."""

    model_config = ConfigDict(extra="forbid")

    status: Replayable
    rule_id: UUID | None = None
    error_class: Annotated[Text, Field(min_length=1, max_length=100)] | None = None
    since: Moment | None = None
    until: Moment | None = None


class RunChoice(Choice[RunsToReplay]):
    """Which runs: `ids`, of which every one must fit, or `where`, the oldest first.

    `dry_run` counts and changes nothing.
    """

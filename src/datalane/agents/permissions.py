"""What may be done with agents, and by whom."""

from datalane.contracts.authorization import MATRIX
from datalane.contracts.context import Role

# Runs
_RECORDING = (
    *("begin_agent_run", "take_agent_run", "extend_agent_runs", "record_agent_steps"),
    *("agent_output_schema", "called_tool", "end_agent_run", "record_agent_moderation"),
)
_CALLING = ("request_tool_call", "start_tool_call", "succeed_tool_call", "fail_tool_call", "cancel_tool_call")
_SPANS = ("agent_traces", "agent_spans")

RECORD_RUNS = MATRIX.allow(
    Role.MEMBER,
    "agent_run.record",
    needs=[
        f"datalane.{verb}"
        for verb in ("open_agent_thread", *_RECORDING, *_CALLING, "take_agent_spans", "record_span_refusals")
    ],
)
READ_RUNS = MATRIX.allow(
    Role.VIEWER,
    "agent_run.read",
    needs=[
        f"datalane.{table}:select"
        for table in (
            "agent_threads",
            "agent_runs",
            "agent_steps",
            "tool_calls",
            "agent_transitions",
            "agent_effects",
            "agent_moderations",
            *_SPANS,
        )
    ],
)
DECIDE_CALLS = MATRIX.allow(Role.ADMIN, "tool_call.decide", needs=["datalane.resolve_tool_call"])

# Tools
READ_TOOLS = MATRIX.allow(
    Role.VIEWER,
    "agent_tool.read",
    needs=[
        f"datalane.{table}:select"
        for table in ("agent_tools", "agent_tool_versions", "agent_tool_rules", "agent_tool_rule_versions")
    ],
)
MANAGE_TOOLS = MATRIX.allow(
    Role.ADMIN,
    "agent_tool.manage",
    needs=["datalane.agent_tools:insert", "datalane.agent_tools:update", "datalane.agent_tool_versions:insert"],
)
MANAGE_TOOL_RULES = MATRIX.allow(
    Role.ADMIN,
    "agent_tool_rule.manage",
    needs=[
        "datalane.agent_tool_rules:insert",
        "datalane.agent_tool_rules:update",
        "datalane.agent_tool_rule_versions:insert",
    ],
)

# Versions and prices
READ_VERSIONS = MATRIX.allow(
    Role.VIEWER,
    "agent_version.read",
    needs=[f"datalane.agent_{table}:select" for table in ("prompts", "models", "output_schemas", "prices")],
)
REGISTER_VERSIONS = MATRIX.allow(
    Role.MEMBER,
    "agent_version.register",
    needs=[f"datalane.agent_{table}:insert" for table in ("prompts", "models", "output_schemas")],
)
SET_PRICES = MATRIX.allow(Role.ADMIN, "agent_price.create", needs=["datalane.agent_prices:insert"])

# Budgets
READ_BUDGETS = MATRIX.allow(
    Role.VIEWER,
    "agent_budget.read",
    needs=["datalane.agent_budgets:select", "datalane.agent_usage:select"],
)
MANAGE_BUDGETS = MATRIX.allow(
    Role.ADMIN,
    "agent_budget.manage",
    needs=[f"datalane.agent_budgets:{command}" for command in ("insert", "update", "delete")],
)

# Evaluations
_DATASETS = ("agent_datasets", "agent_dataset_cases")
_EVALUATIONS = ("agent_evaluations", "agent_evaluation_results")

READ_EVALUATIONS = MATRIX.allow(
    Role.VIEWER,
    "agent_evaluation.read",
    needs=[f"datalane.{table}:select" for table in (*_DATASETS, *_EVALUATIONS)],
)
ADD_DATASETS = MATRIX.allow(Role.MEMBER, "agent_dataset.add", needs=[f"datalane.{table}:insert" for table in _DATASETS])
RECORD_EVALUATIONS = MATRIX.allow(
    Role.MEMBER, "agent_evaluation.record", needs=[f"datalane.{table}:insert" for table in _EVALUATIONS]
)

"""Recording runs from Python: what an agent does inside a `with` block stands in the ledger, however the block ends.

async with agents.run(context, "helper", input=question) as run:
    async with run.step("model", "chat", model_version_id=model) as step:
        answer = await ask(question)
        step.count(input_tokens=answer.input_tokens, output_tokens=answer.output_tokens)
    async with run.tool("search", {"query": question}) as call:
        call.result = await search(question)
    run.output = answer.text
"""

from datalane.agents.recorder.calls import RecordedCall
from datalane.agents.recorder.faults import AgentFault, ApprovalNeeded, BudgetExceeded, ToolBlocked
from datalane.agents.recorder.runs import Agents, RecordedRun
from datalane.agents.recorder.steps import RecordedStep
from datalane.agents.safety.faults import ContentRefused, ModerationUnavailable
from datalane.agents.safety.moderator import About, Moderator, Verdict

__all__ = [
    "About",
    "AgentFault",
    "Agents",
    "ApprovalNeeded",
    "BudgetExceeded",
    "ContentRefused",
    "ModerationUnavailable",
    "Moderator",
    "RecordedCall",
    "RecordedRun",
    "RecordedStep",
    "ToolBlocked",
    "Verdict",
]

"""Evaluations of agents: what the answers of an agent to the cases of a dataset are worth.

case → run of the ledger → output → graders → one result; results → means with intervals, or the refusal of them.
`failed` is a run that ended without an output that can be graded, `invalid` an output that a grader could not grade.
Coverage is the share of graded cases of all that the dataset has, also those that were not attempted.
"""

from datalane.agents.evaluations.graders import Attempt, Citations, Custom, Exact, Grader, Retrieval, Schema, Ungradable
from datalane.agents.evaluations.running import Plan, evaluate

__all__ = [
    "Attempt",
    "Citations",
    "Custom",
    "Exact",
    "Grader",
    "Plan",
    "Retrieval",
    "Schema",
    "Ungradable",
    "evaluate",
]

"""Spans of OpenTelemetry, received over OTLP/HTTP, told as runs of agents.

    body ──otlp──▶ spans ──genai──▶ what each says of a run ──taking──▶ datalane.take_agent_spans

One trace is one run. Spans come late, twice, and children before their parents, so nothing here depends on their order:
each span is read by itself, and what a run is follows from the set of its spans alone, in the database. What somebody
sees happening was not asked for beforehand: calls of tools are recorded as they were, and no rule decided them.
"""

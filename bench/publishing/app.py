"""An application on the lane that registers the event type which is published."""

from __future__ import annotations

from datalane import Lane

TYPE = "invoice.paid"

lane = Lane()
lane.event(
    TYPE,
    {
        "type": "object",
        "properties": {"invoice": {"type": "integer"}, "customer": {"type": "string"}},
        "required": ["invoice"],
    },
)

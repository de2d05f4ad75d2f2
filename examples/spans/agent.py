"""An agent of a framework (Pydantic AI) that is traced by OpenTelemetry. Nothing here knows of the lane: where the
spans go, and with which key, the exporter reads from its own environment variables.

    python agent.py "Where is my order?"

The model is the framework's `TestModel`: it asks no provider, calls every tool once, and answers what the tools said.
"""

from __future__ import annotations

import sys

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pydantic_ai import Agent
from pydantic_ai.capabilities import Instrumentation
from pydantic_ai.models.instrumented import InstrumentationSettings
from pydantic_ai.models.test import TestModel

provider = TracerProvider(resource=Resource.create({"service.name": "support-desk"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

support = Agent(
    TestModel(),
    name="support",
    system_prompt="You help customers of a shop.",
    capabilities=[Instrumentation(InstrumentationSettings(tracer_provider=provider))],
)


@support.tool_plain
def look_up_order(order: str) -> str:
    """What became of an order."""
    return f"order {order} is on its way"


if __name__ == "__main__":
    question = sys.argv[1] if len(sys.argv) > 1 else "Where is my order?"
    print(support.run_sync(question, conversation_id="customer-17").output)
    provider.shutdown()  # sends what is left

"""A step while it goes on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from datalane.agents.recorder.faults import class_of, message_of
from datalane.agents.runs.schemas import NewStep, StepKind


@dataclass(slots=True)
class RecordedStep:
    """A step that is recorded when its block ends. `input` and `output` may be set until then."""

    kind: StepKind
    name: str
    input: Any = None
    output: Any = None
    attempt: int = 1
    prompt_version_id: UUID | None = None
    model_version_id: UUID | None = None
    used: dict[str, int | None] = field(default_factory=dict)
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    def count(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_input_tokens: int | None = None,
        reasoning_tokens: int | None = None,
    ) -> None:
        """Say what was used. `input_tokens` include the cached ones, `output_tokens` those of reasoning; None is not
        known."""
        self.used = {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "cached_input_tokens": cached_input_tokens,
            "reasoning_tokens": reasoning_tokens,
        }

    def told(self, error: BaseException | None) -> NewStep:
        """The step as it is recorded, now that it is over. Raises `ValidationError` for what cannot be."""
        return NewStep(
            kind=self.kind,
            name=self.name,
            attempt=self.attempt,
            prompt_version_id=self.prompt_version_id,
            model_version_id=self.model_version_id,
            input=self.input,
            output=self.output,
            error_class=None if error is None else class_of(error),
            error_message=None if error is None else message_of(error),
            seconds=asyncio.get_running_loop().time() - self.began,
            **self.used,
        )

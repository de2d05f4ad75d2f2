"""What agents need while the process runs: the tools of the lane, the meters that are asked, and the assistant."""

from __future__ import annotations

from dataclasses import dataclass

from datalane.agents.assistant.chat import Chat
from datalane.agents.assistant.handlers import TakingUp
from datalane.agents.assistant.service import Assistant
from datalane.db.database import Database
from datalane.engine.handlers import Handlers
from datalane.engine.meters import Meters
from datalane.engine.tools import Tools
from datalane.settings import Settings


@dataclass(frozen=True, slots=True)
class AgentsRuntime:
    tools: Tools
    meters: Meters
    assistant: Assistant

    def register(self, handlers: Handlers, database: Database) -> None:
        """Add the handlers of the jobs of agents."""
        TakingUp(database, self.assistant).register(handlers)


def make_agents(settings: Settings, tools: Tools, meters: Meters) -> AgentsRuntime:
    """It starts nothing."""
    chat = Chat(settings.assistant) if settings.assistant.is_on else None
    return AgentsRuntime(tools, meters, Assistant(tools, meters, chat))

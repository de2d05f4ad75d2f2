"""What agents need while the process runs: the tools of the lane, the meters and the moderator that are asked, and the
assistant."""

from __future__ import annotations

from dataclasses import dataclass

from datalane.agents.assistant.chat import Chat
from datalane.agents.assistant.handlers import TakingUp
from datalane.agents.assistant.service import Assistant
from datalane.agents.safety.judging import Safety
from datalane.agents.safety.loading import follow_settings
from datalane.agents.safety.moderator import Moderator
from datalane.db.database import Database
from datalane.engine.handlers import Handlers
from datalane.engine.meters import Meters
from datalane.engine.suppression import Suppressor
from datalane.engine.tools import Tools
from datalane.settings import Settings


@dataclass(frozen=True, slots=True)
class AgentsRuntime:
    tools: Tools
    meters: Meters
    assistant: Assistant
    safety: Safety

    def register(self, handlers: Handlers, database: Database) -> None:
        """Add the handlers of the jobs of agents."""
        TakingUp(database, self.assistant).register(handlers)


def make_agents(
    settings: Settings, tools: Tools, meters: Meters, citations: Suppressor, moderator: Moderator | None = None
) -> AgentsRuntime:
    """It starts nothing. `moderator` is the application's. Raises `ConfigurationError` for one of the settings that
    cannot be loaded, or is another one."""
    chat = Chat(settings.assistant) if settings.assistant.is_on else None
    safety = Safety(moderator, citations=citations)
    follow_settings(safety, settings.agents)
    return AgentsRuntime(tools, meters, Assistant(tools, meters, chat, safety), safety)

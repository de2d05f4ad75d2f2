"""Tools by name: what the application does when an agent calls one."""

from __future__ import annotations

from collections.abc import Callable

from datalane.agents.recorder.calls import ToolFunction
from datalane.engine.tools import Tools
from datalane.errors import ConfigurationError


class Toolbox:
    """The functions of the tools of one application, and behind them those of the lane's domains. Who may call them is
    the policy's, in the database."""

    def __init__(self, built_in: Tools | None = None) -> None:
        self._by_name: dict[str, ToolFunction] = {}
        self.built_in = built_in

    def implement(self, tool_name: str) -> Callable[[ToolFunction], ToolFunction]:
        """Register `async def tool(call) -> result`. Raises `ConfigurationError` for a name that is taken."""

        def register(function: ToolFunction) -> ToolFunction:
            if tool_name in self._by_name:
                raise ConfigurationError(f"the tool {tool_name} has two functions")
            self._by_name[tool_name] = function
            return function

        return register

    def get(self, tool_name: str) -> ToolFunction | None:
        own = self._by_name.get(tool_name)
        return own if own is not None or self.built_in is None else self.built_in.get(tool_name)

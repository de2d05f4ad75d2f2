"""The gate at which `gated_parser` stops."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from tests.integration.knowledge.library import PATIENCE


@dataclass(frozen=True)
class Gate:
    """The pipes of `gated_parser`: `text` is the document, `entered` waits for the parser, `leave` lets it go on."""

    folder: Path

    @classmethod
    def made(cls, folder: Path) -> Gate:
        for name in ("entered", "leave"):
            os.mkfifo(folder / name)
        return cls(folder)

    @property
    def text(self) -> str:
        return str(self.folder)

    async def entered(self) -> None:
        await asyncio.wait_for(asyncio.to_thread((self.folder / "entered").read_text), PATIENCE)

    async def leave(self, text: str) -> None:
        await asyncio.wait_for(asyncio.to_thread((self.folder / "leave").write_text, text), PATIENCE)

"""An S3 endpoint on this machine that keeps every writer waiting until it is let go."""

from __future__ import annotations

import asyncio
import re

PATIENCE = 30.0


class SlowStore:
    """No writer is answered before `leave` is set. `arrived` names the objects that came whole, `most` how many writers
    waited at once. It keeps nothing, and notes in `removed` what it is asked to remove."""

    def __init__(self) -> None:
        self.leave = asyncio.Event()
        self.arrived: list[str] = []
        self.most = 0
        self._waiting = 0
        self._arrival = asyncio.Condition()
        self.removed: list[str] = []
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def start(self) -> str:
        """Its URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        self.leave.set()
        assert self._server is not None
        self._server.close()
        for writer in self._serving:
            writer.close()
        await asyncio.gather(*(task for task in self._serving.values() if task))

    async def until(self, count: int) -> None:
        """Wait until so many objects have arrived."""
        async with asyncio.timeout(PATIENCE), self._arrival:
            await self._arrival.wait_for(lambda: len(self.arrived) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving[writer] = asyncio.current_task()
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1]) if length else 0)
                method, path, _ = head.split(" ", 2)
                writer.write(await self._answer(method, path, body.decode()))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, method: str, path: str, body: str) -> bytes:
        if method == "PUT":
            self._waiting += 1
            self.most = max(self.most, self._waiting)
            async with self._arrival:
                self.arrived.append(path)
                self._arrival.notify_all()
            await self.leave.wait()
            self._waiting -= 1
            return b'HTTP/1.1 200 OK\r\nETag: "1"\r\nContent-Length: 0\r\n\r\n'
        bucket, _, query = path.partition("?")
        assert (method, query) == ("POST", "delete"), f"{method} {path}"
        self.removed += [f"{bucket}/{key}" for key in re.findall("<Key>(.*?)</Key>", body)]
        return b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<DeleteResult/>"
